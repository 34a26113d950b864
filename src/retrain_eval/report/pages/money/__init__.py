"""The page on money: who pays for training, who gains from it, and whether it is worth its cost."""
