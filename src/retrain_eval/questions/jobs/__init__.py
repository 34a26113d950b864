"""Questions on jobs: how soon one is found, whether it lasts, how good it is, and how wages grow."""
