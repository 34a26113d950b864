"""Sums of covariates by arm, before and after matching, from which balance tables are computed."""
