"""From raw files to validated, vintaged records: what `retrain_eval.records.store` is made of."""
