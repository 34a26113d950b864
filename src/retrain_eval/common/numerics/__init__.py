"""Numerical routines that several estimators share: joint inference and the cluster jackknife."""
