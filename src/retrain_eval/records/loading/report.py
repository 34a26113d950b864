"""What became of one file that was to be loaded."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class IngestReport:
    """What became of one file.

    Attributes
    ----------
    resource, file, sha256 : str
        Record type, name of the file, hash of its bytes.
    rows_in, rows_loaded, rows_rejected, rows_superseded : int
        Rows of the file; how many of them stand in the store and in ``rejects``; rows of earlier loads that
        they supersede. The rest of the file are exact duplicates, ``rows_repeated``.
    vintage : int
        Vintage that the load made, or by which the file was loaded before.
    already_loaded : bool
        True if the store held this very file, so that nothing was done.
    dry_run : bool
        True if nothing was to be written.
    absent : tuple of str
        Declared columns that the file does not have; they are missing in every row.
    copy_of : str
        Name of the delivery that the file is a copy of, byte for byte; it is loaded once.
    refusals : str
        CSV file in which the refused rows are listed; empty where none was refused, or none was asked for.
    """

    resource: str
    file: str
    sha256: str
    rows_in: int
    rows_loaded: int
    rows_rejected: int
    rows_superseded: int = 0
    vintage: int = 0
    already_loaded: bool = False
    dry_run: bool = False
    absent: tuple[str, ...] = ()
    refusals: str = ""
    copy_of: str = ""

    @property
    def rows_repeated(self) -> int:
        """Rows that are the same in every column as an earlier row of the file, and count as one with it."""
        return self.rows_in - self.rows_loaded - self.rows_rejected

    def __str__(self) -> str:
        if self.copy_of:
            return f"{self.resource}: {self.file} is the same file as {self.copy_of}, which is loaded once"
        if self.already_loaded:
            rows = f"{self.rows_loaded:,} rows"
            return f"{self.resource}: {self.file} is already loaded ({rows}, vintage {self.vintage}), nothing to do"
        refused = f", {self.rows_rejected:,} refused" if self.rows_rejected else ""
        refused += f" (listed in {self.refusals})" if refused and self.refusals else ""
        several = "s" if self.rows_repeated > 1 else ""
        repeated = f", {self.rows_repeated:,} exact duplicate{several} left out" if self.rows_repeated else ""
        superseded = f", {self.rows_superseded:,} earlier rows superseded" if self.rows_superseded else ""
        does = "would be loaded" if self.dry_run else "loaded"
        return f"{self.resource}: {self.rows_loaded:,} rows {does} from {self.file}{refused}{repeated}{superseded}"
