"""One module per method of `match`. Ties are broken in ``nearest_search``."""
