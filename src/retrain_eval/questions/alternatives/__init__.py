"""Questions on alternatives to retraining: for whom it does not work, and what does."""
