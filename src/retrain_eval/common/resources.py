"""Folders that ship with the package: record schemas, the book's source, and the study that others start from."""

from __future__ import annotations

from pathlib import Path

from retrain_eval.common.errors import StoreError, unknown

NAMES = ("data_schemas", "book", "analyses/agency")


def resource(name: str) -> Path:
    """Return the folder of a resource, in an installed wheel or in a checkout.

    Parameters
    ----------
    name : {"data_schemas", "book", "analyses/agency"}
        A wheel carries the folder beside this module, a checkout at its root.

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
    here = Path(__file__).parents[1]
    for folder in (here / name, here.parents[1] / name):
        if folder.is_dir() and any(folder.iterdir()):
            return folder
    raise StoreError(f"this installation lacks its folder {name!r}; install retrain-eval again")
