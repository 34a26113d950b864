"""Figures of estimates, for notebooks and for the report: plotnine layers that know neither words nor languages.

`pieces` has the theme and what all figures share, `curves` draws durations, `effects` event studies and estimates one
to a line. A caller brings data with finished labels. Nothing here imports another part of `estimators`.
"""
