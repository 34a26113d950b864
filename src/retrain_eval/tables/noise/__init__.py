"""Noise that is attached to people: keys, cell keys, changed counts, noisy sums, and sets of people that are too alike.

Everything here is a function of keys that `person_keys` derives from the agency's release key. Keys, key sums and
sketches never leave the agency; what is released is computed from them once, by `retrain_eval.release.protection`.
"""
