"""Re-derives every number of a bundle from the bundle alone, and compares what it states twice."""
