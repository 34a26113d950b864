"""Outcome moments, ``cohort × stratum``: the sums, and the steps in DuckDB that build and sum the paths of people."""
