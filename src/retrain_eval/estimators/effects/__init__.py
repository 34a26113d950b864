"""The result type of every estimator, and what reads it: subgroups, bounds, figures."""
