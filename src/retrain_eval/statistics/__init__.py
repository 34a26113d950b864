"""Sums that single tests and bounds need, where neither paths, spells nor covariates give them: small, and additive."""
