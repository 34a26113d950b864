"""Propensity scores and the hazard of entering training, on distinct covariate rows."""
