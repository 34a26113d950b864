"""Outcomes after entry: censoring of follow-up, and the weights that correct for it."""
