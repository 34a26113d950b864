"""Designs: who is compared with whom. A module for each kind, a class of `retrain_eval.questions.cohort.Cohort`."""
