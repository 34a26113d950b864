"""Delivered text files: their bytes, encoding, columns and missing values, and CSV that is safe in a spreadsheet."""
