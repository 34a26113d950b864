"""The additive tables of a question, and why some of them are absent."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TypeVar

from retrain_eval.common.errors import DesignError, DisclosureError
from retrain_eval.estimators.survival.spells import Spells
from retrain_eval.plan.rules import Release
from retrain_eval.tables.additive import Additive
from retrain_eval.tables.life_table.life_table import LifeTable

LIFE = "life_tables/"
CLUSTERED = "clustered/"  # life tables with sums by matched set: they stay at the agency
T = TypeVar("T", bound=Additive)


class Tables(dict[str, Additive]):
    """Additive tables by the names of their files in a bundle, such as ``moments/matched_earnings``.

    Attributes
    ----------
    absent : dict of str → str
        Tables that the records do not give, with a reason that may be published.

    Examples
    --------
    >>> tables = Tables()
    >>> with tables.attempt("moments/matched_m0"):
    ...     raise DesignError("18 units of 20 are not observed", public="no unit is observed in all 21 periods")
    >>> tables.need("moments/matched_m0", Additive)
    Traceback (most recent call last):
    ...
    retrain_eval.common.errors.DesignError: no unit is observed in all 21 periods
    """

    def __init__(self, tables: Mapping[str, Additive] | None = None, absent: Mapping[str, str] | None = None) -> None:
        super().__init__(tables or {})
        self.absent: dict[str, str] = dict(absent or {})

    @contextmanager
    def attempt(self, *names: str) -> Iterator[None]:
        """Try to sum people to tables; those that the records do not give are absent, with the reason."""
        try:
            yield
        except (DesignError, DisclosureError) as error:
            for name in names:
                if name not in self:
                    self.absent[name] = error.public

    def need(self, name: str, kind: type[T]) -> T:
        """Return a table.

        Raises
        ------
        DesignError
            If it is absent; the message is the reason.
        """
        found = self.get(name)
        if found is None:
            raise DesignError(self.absent.get(name, f"there is no table {name}"))
        assert isinstance(found, kind)
        return found

    def spells(self, name: str, *, clustered: bool = False) -> Spells:
        """Return the front to a life table: as it is released, or as the agency has it, with sums by matched set.

        Where the latter is not there, as in a bundle, it is the former: estimates are the same, and errors are not.
        """
        inside = self.get(CLUSTERED + name) if clustered else None
        table = self.need(LIFE + name, LifeTable) if inside is None else inside
        assert isinstance(table, LifeTable)
        return Spells.from_table(table)

    def add(self, other: Tables) -> None:
        """Take over the tables of another question; one that both have is the same table."""
        self.update(other)
        self.absent.update({name: why for name, why in other.absent.items() if name not in self})


def safe_tables(tables: Tables, rules: Release) -> Tables:
    """Return tables whose life tables can be released under the rules of a study.

    With noise a release changes counts, and without protection it has them exactly: life tables stay as they are.
    Otherwise rare durations, causes and levels are merged, after the people of all shards are added up, since
    what is rare is known only then. A life table with sums by matched set is kept twice: without them, as it may be
    released, and with them for the agency's own errors.

    Parameters
    ----------
    tables : Tables
    rules : Release
    """
    merge = not (rules.noisy or rules.exact)
    safe = Tables({name: table for name, table in tables.items() if not isinstance(table, LifeTable)}, tables.absent)
    for name, table in tables.items():
        if isinstance(table, LifeTable):
            with safe.attempt(name):
                coarse = table.coarsen(rules.min_contributors, merge=True) if merge else table
                safe[name] = coarse.without_clusters() if coarse.cluster is not None else coarse
                if coarse.cluster is not None:
                    safe[CLUSTERED + name.removeprefix(LIFE)] = coarse
    return safe
