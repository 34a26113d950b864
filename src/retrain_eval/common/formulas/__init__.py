"""Model formulas: a grammar of our own, read into a tree and computed from the tree; no text is ever evaluated."""
