"""From records to outcomes: coverage, jobs, employment quality, and the paths that moments are summed from."""
