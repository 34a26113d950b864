"""Record types as Table Schemas declare them: columns, keys, rules, versions, and the data dictionary."""
