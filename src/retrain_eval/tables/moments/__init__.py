"""Outcome moments, ``cohort × stratum``: the sums, and how paths of people are laid out and summed, in DuckDB."""
