"""Finding people in another register, exactly or by probability, and how good the links are."""
