"""The additive tables, from which every published number is computed, and how people are summed to them.

``moments/`` (outcome moments), ``life_table/`` (life tables), ``covariates/``, and counts and statistics in this
folder. They add, are written to Parquet and read back. Imports `common`; knows no study, and no estimator.
"""
