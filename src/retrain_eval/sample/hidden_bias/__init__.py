"""Sums of a matched sample from which bounds for hidden bias follow."""
