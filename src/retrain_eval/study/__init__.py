"""The study folder and its verbs: ingest, plan, run, release, report. On top; only the command line imports it."""
