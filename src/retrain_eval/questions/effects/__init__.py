"""Questions on effects: over time, for whom, and what they cost."""
