"""Life tables, ``stratum × duration × cause``: their counts, counting spells, and merging durations."""
