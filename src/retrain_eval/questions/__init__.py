"""The questions that a study can ask: one module for each, and the designs that say who is compared with whom.

A question has two halves. `collect` sums people to additive tables; `answer` turns the tables to effects. `protocol` says
what a question has to have, `catalogue` lists them all, `cohort` is what they are given.
"""
