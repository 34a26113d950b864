"""How far an effect can be trusted: pre-trends, placebo starts, hidden bias, payback."""
