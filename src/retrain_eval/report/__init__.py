"""The Jupyter Book report, read from release bundles only."""
