"""From the files that agencies hold to records: layouts, which say what raw columns mean, and their SQL.

A layout is a TOML file in a closed vocabulary (`description`): no Python, and no SQL of its own. `library` reads and
checks it, `headers` finds its fields in a raw file, `steps` compiles it to named steps of SQL, and `delivery` gives the
result to `loading` as a delivery whose rows keep the line of the raw file.
"""
