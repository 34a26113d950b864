"""The page on whether the groups are alike: the balance rating, covariates, and who was matched."""
