"""Folders that ship with the package: record schemas, the book's source, and the study that others start from."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

from retrain_eval.common.errors import StoreError, unknown

NAMES = ("data_schemas", "book", "analyses/agency")


def resource(name: str) -> Path:
    """Return the folder of a resource, in an installed wheel or in a checkout.

    Parameters
    ----------
    name : {"data_schemas", "book", "analyses/agency"}
        A wheel carries the folder inside the package, a checkout at its root.

    Raises
    ------
    InputError
        If no such resource exists.
    StoreError
        If the installation lacks the folder.

    Examples
    --------
    >>> (resource("data_schemas") / "datapackage.json").exists()
    True
    """
    if name not in NAMES:
        raise unknown("resource", name, NAMES)
    package = Path(str(files("retrain_eval")))
    for folder in (package / name, package.parents[1] / name):
        if folder.is_dir() and any(folder.iterdir()):
            return folder
    raise StoreError(f"this installation lacks its folder {name!r}; install retrain-eval again")
