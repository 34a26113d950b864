"""The pages of the book, one module each; a long page has a folder with one module for each of its parts.

A page's code calls nothing but its own module and what pages share in `retrain_eval.report`. The page on methods has
only text, and so no module.
"""
