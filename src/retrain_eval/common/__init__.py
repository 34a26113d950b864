"""What every room uses: errors, files and locks, data sources, SQL, periods, untrusted input.

Imports nothing above it. ``text/`` reads delivered text files, ``formulas/`` is the grammar of model formulas, and
``numerics/`` holds the inference that several estimators share.
"""
