"""The additive tables from which every published number is computed, and the sums over people that fill them.

``moments/`` (outcome moments), ``life_table/`` (life tables), ``covariates/``, and counts and statistics in this
folder. Tables can be added, written to Parquet and read back. Imports `common`; does not know studies or estimators.
"""
