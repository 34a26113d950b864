"""The effect in a matched or weighted sample, with the variance that its design requires."""
