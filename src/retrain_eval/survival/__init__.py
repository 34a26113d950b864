"""Job stability, read from life tables."""
