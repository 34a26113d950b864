"""A record type: its columns and keys, as a schema declares them."""

from __future__ import annotations

from dataclasses import dataclass

from retrain_eval.common.text.missing_values import texts_of
from retrain_eval.records.schema.descriptors import Field, ForeignKey


@dataclass(frozen=True)
class Resource:
    """A record type: its columns and keys.

    A file may leave out columns that are not required; it may not have columns that are not declared
    (``fieldsMatch: superset``, and where a schema has no ``fieldsMatch``). With ``equal`` it has every column, with
    ``exact`` in the order of the schema as well. In ``unique_keys`` two missing values are the same value
    (``NULLS NOT DISTINCT``); the columns of ``primary_key`` are required.
    """

    name: str
    title: str
    description: str
    fields: tuple[Field, ...]
    primary_key: tuple[str, ...]
    unique_keys: tuple[tuple[str, ...], ...]
    foreign_keys: tuple[ForeignKey, ...]
    order: tuple[tuple[str, str], ...]
    distinct: tuple[tuple[str, str], ...]
    missing_values: tuple[str, ...]
    sha256: str
    fields_match: str = "superset"

    @property
    def columns(self) -> list[str]:
        """Names of the columns, in order."""
        return [field.name for field in self.fields]

    def field(self, column: str) -> Field:
        """Return a column by name."""
        return next(field for field in self.fields if field.name == column)

    def missing(self, column: str) -> tuple[str, ...]:
        """Return the texts that stand for a missing value of a column."""
        own = self.field(column).missing_values
        return self.missing_values if own is None else texts_of(own)

    def required(self, column: str) -> bool:
        """Whether a value must stand in every row."""
        return self.field(column).constraints.required or column in self.primary_key
