"""Disclosure control: protects every table, and makes all rows again from the protected tables."""
