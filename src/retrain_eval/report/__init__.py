"""The Jupyter Book report, read from release bundles only.

``pages/`` has what each page says and shows, ``language/`` the translations. Imports `release` and below.
"""
