"""Questions on money: who pays, who gains, and whether it is worth it."""
