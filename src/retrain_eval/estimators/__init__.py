"""Functions of the additive tables: difference-in-differences, survival, sensitivity and subgroups.

``OutcomeMoments`` is the moments table with its estimators as methods, ``survival.spells.Spells`` the same for life
tables, and ``effects.effects.EffectTable`` what all of them return. Imports `tables` and below. Only ``rows/`` reads
people.
"""
