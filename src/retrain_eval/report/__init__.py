"""The Jupyter Book report, read from release bundles only.

``pages/`` has a module or a folder for each page of ``book/``: its sentences (``say_…``), tables (``tabulate_…``) and
figures (``draw_…``). What several pages share stands here: `estimates`, `event_study`, `group_verdicts` and
`matching_rule`; the words of a study (`words`), numbers (`numerals`), and what a figure, a table or a piece of HTML is.
``building/`` makes the book, ``language/`` has the translations. Imports `release` and below.
"""
