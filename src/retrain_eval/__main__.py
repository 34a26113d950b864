"""``python -m retrain_eval`` is the command line."""

from retrain_eval.cli import main

main()
