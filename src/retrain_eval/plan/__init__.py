"""What a study says it will do: ``study.toml`` as typed objects, its disclosure profile, and the registered plan.

Low in the package, because records, estimators, release and report all read it. Imports `common` only.
"""
