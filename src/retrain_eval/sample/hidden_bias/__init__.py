"""Sums over a matched sample from which sensitivity to hidden bias is computed."""
