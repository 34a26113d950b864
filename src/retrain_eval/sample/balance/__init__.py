"""Covariate balance between treated units and controls, before and after matching, and its rating."""
