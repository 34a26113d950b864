"""The page on the effect over time: paths, the event study, payback, and comparison with other answers."""
