"""The page on how long joblessness and jobs last: curves, differences, causes, hazards, indicators."""
