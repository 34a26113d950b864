"""The questions that a study can ask: one module for each, and the designs that say who is compared with whom.

A question has two halves: `collect` sums people to additive tables, and `answer` turns the tables into effects. The
module `protocol` says what a question has, `catalogue` lists them all, and a `cohort` is what they are given.
"""
