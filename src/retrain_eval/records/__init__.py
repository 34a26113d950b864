"""From raw files to validated, vintaged records in the store.

Imports `common` and `plan`. Others use `Store`, the schemas' data dictionary, and ``linkage/``. ``schema/`` reads what
is declared in ``data_schemas/``; ``loading/`` checks deliveries row by row and appends them.
"""
