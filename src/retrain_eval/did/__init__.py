"""Difference-in-differences, read from outcome moments."""
