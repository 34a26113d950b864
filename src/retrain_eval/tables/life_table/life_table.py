"""Life tables: the small additive table behind every survival estimate, kept in a file and coarsened."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from typing import Self

import numpy as np
from scipy import sparse

from retrain_eval.common.errors import DisclosureError, InputError
from retrain_eval.common.shown import summarised
from retrain_eval.tables.life_table.coarsening import move_to_grid, publishable_durations
from retrain_eval.tables.life_table.life_table_file import read, write
from retrain_eval.tables.life_table.rare_levels import less_detailed, without_rare
from retrain_eval.tables.life_table.spell_table import SpellTable, merge_cells


@summarised
@dataclass(frozen=True)
class LifeTable(SpellTable):
    """Spells counted by cell. Make one with `life_table`; add them with ``+``.

    The fields are those of `SpellTable`: ``cells``, one row per levels × entry × duration × cause, and their products.
    """

    def coarsen(self, min_cell: int, *, merge: bool = False) -> Self:
        """Return a table that may be published: no count from 1 to ``min_cell`` − 1.

        Neighbouring durations are merged, on one grid for all groups, by `retrain_eval.tables.life_table.coarsening`:
        events move to the last of the durations merged, and spells censored in between are split between it and the
        one before so that the Kaplan–Meier curve keeps its value there. If no further duration can be kept, the table
        stops, and the remaining spells are censored at the last duration. No spell is lost, a table without small
        counts is unchanged, and coarsening again changes nothing.

        Parameters
        ----------
        min_cell : int
            Smallest count that may be published.
        merge : bool
            First merge rare causes and rare levels of the last column. If no duration can be kept even then, treat all
            causes as one, ``"any"``, and sum over the columns of levels, the last one first. ``merged`` lists what was
            merged.

        Returns
        -------
        LifeTable
            With ``grid`` and ``stopped`` set.

        Raises
        ------
        DisclosureError
            If no duration can be kept whatever is merged; if people have several spells, so that counts are not counts
            of people; or if the table is left-truncated, which this rule does not protect.

        Notes
        -----
        Products of clusters move with their cells, so that standard errors remain clustered. The number of matched
        pairs that two cells share may be small, however; `without_clusters` removes it before publication. A median
        computed from the result is the end of the interval that contains it.

        Examples
        --------
        >>> from retrain_eval.tables.life_table.counting import life_table
        >>> import pandas as pd
        >>> spells = pd.DataFrame({"id": range(8), "weeks": [1, 2, 2, 2, 3, 4, 5, 5], "cause": 1})
        >>> safe = life_table(spells, id="id", duration="weeks", cause="cause").coarsen(3)
        >>> safe.grid, safe.cells["n"].tolist(), safe.stopped
        ((2.0, 5.0), [4, 4], False)
        """
        if min_cell < 1:
            raise InputError(f"min_cell must be at least 1, not {min_cell}", value=min_cell)
        if self.repeated:
            raise DisclosureError("people have several spells here, so a count of spells is not a count of people")
        if self.left_truncated:
            raise DisclosureError("coarsen() does not protect entries: build the table without them")
        if merge and (common := without_rare(self, min_cell)) is not self:
            return common.coarsen(min_cell, merge=True)
        kept = publishable_durations(self.cells, self.group_numbers(), min_cell)
        if not kept and merge and (coarser := less_detailed(self)) is not None:
            return coarser.coarsen(min_cell, merge=True)
        if not kept:
            sizes = self.cells["n"].groupby(self.group_numbers()).sum().to_numpy()
            smallest = " × ".join(self.groups()[int(sizes.argmin())]) or "all"
            raise DisclosureError(
                f"no duration leaves every count at {min_cell} or more; the smallest group, {smallest}, "
                f"has {int(sizes.min())} spell(s): merge levels or causes",
                public=f"no duration leaves every count at {min_cell} or more",
            )
        cells, origin, keys = move_to_grid(self.cells, self.group_numbers(), kept, min_cell, self.keys)
        grid = tuple(float(duration) for duration in np.unique(cells["duration"]))
        went_on = bool((self.cells["duration"] > kept[-1]).any())
        moved = replace(
            self,
            grid=grid,
            stopped=self.stopped or went_on,
            products=None if self.products is None else sparse.csr_array(origin @ self.products @ origin.T),
            totals=None if self.totals is None else sparse.csr_array(self.totals @ origin.T),
            keys=keys,
            noise=None if self.noise is None else sparse.csr_array(origin @ self.noise @ origin.T),
            clusters=self.clusters and self.clusters.without_spells(),
        )
        return merge_cells(moved, cells, self.by)

    # ---- keeping ---------------------------------------------------------------------------------------------

    def to_parquet(self, path: str | os.PathLike[str]) -> None:
        """Write one row per cell: ``cells``, its key, and the rows of its products and of the noise.

        Raises
        ------
        InputError
            If the products are too many to write: large clusters and many cells.
        """
        write(self, path)

    @classmethod
    def read_parquet(cls, path: str | os.PathLike[str]) -> Self:
        """Read what `to_parquet` wrote.

        Raises
        ------
        InputError
            If the file holds something else.
        """
        return cls(**read(path))
