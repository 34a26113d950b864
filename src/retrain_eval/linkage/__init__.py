"""Finding people in another register: exactly by identifiers, or by probability, with the quality of what was found."""
