"""From raw files to validated, vintaged records: what `retrain_eval.store` is made of."""
