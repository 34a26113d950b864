"""Estimators that read people, for what tables cannot hold, and regressions that check the tables' estimates."""
