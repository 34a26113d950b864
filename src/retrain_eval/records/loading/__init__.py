"""One load: which deliveries are new, what is wrong with them, and the transaction that appends the others."""
