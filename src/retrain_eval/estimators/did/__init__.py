"""Difference-in-differences from outcome moments. Reads no people."""
