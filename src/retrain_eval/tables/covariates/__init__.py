"""Sums of covariates by arm, before and after matching: what a balance table follows from."""
