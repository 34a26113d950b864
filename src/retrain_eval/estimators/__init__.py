"""Functions of the additive tables: difference-in-differences, survival, sensitivity and subgroups.

``OutcomeMoments`` is the moments table with its estimators as methods, ``survival.spells.Spells`` the same for life
tables, and ``effects.effects.EffectTable`` what all of them return. Imports `tables` and below.
`outcome_moments` and `Spells` sum people to tables first; of the estimators, only those in ``rows/`` read people.
"""
