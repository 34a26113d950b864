"""Life tables, ``stratum × duration × cause``: the counts, how spells are counted, and how durations are merged."""
