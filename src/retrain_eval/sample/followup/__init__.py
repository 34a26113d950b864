"""Outcomes after entry: where follow-up is censored, and the weights that make up for it."""
