"""Questions about those who provide training."""
