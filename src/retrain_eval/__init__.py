"""Long-run impact evaluation of retraining, from two small additive tables."""
