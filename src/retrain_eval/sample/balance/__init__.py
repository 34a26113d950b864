"""How alike treated units and controls are before and after matching, and the rating of it."""
