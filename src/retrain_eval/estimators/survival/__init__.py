"""Job stability from life tables: curves, tests and contrasts; ``regression/`` has hazards models."""
