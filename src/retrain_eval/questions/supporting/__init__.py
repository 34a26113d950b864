"""Questions that support the others: who was studied, how alike the groups are, and what would overturn the effect."""
