"""Which record files results came from: exact hashes stay in the store; an edition has at most a keyed fingerprint.

With the SHA-256 of a file about people, anyone who knows all but a few of its values can try candidates until the hash
matches. So an edition has none. If the study hashes identifiers, an edition has an HMAC under the same key, with which
only the agency can tell whether two editions rest on the same files. ``store/editions.json``, which stays inside the
agency, has the exact hashes behind each edition, and ``store/plan_opened.json`` those of the files that had been read
when a plan was registered.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import os
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from retrain_eval.common.files import new_folder, put_back, write_text
from retrain_eval.common.locks import locked
from retrain_eval.plan.registered import Registration
from retrain_eval.plan.study_file import StudyFile
from retrain_eval.records.files import loaded_files
from retrain_eval.records.identifiers import ENVIRONMENT
from retrain_eval.records.schema.dictionary import Package
from retrain_eval.records.store import Store
from retrain_eval.release.bundle import Bundle
from retrain_eval.release.results import Results

EDITIONS = "editions.json"
OPENED = "plan_opened.json"
INPUTS, KEY = "inputs.json", "key.json"


def run_key(file: StudyFile, script: str, store: Store, package: Package) -> dict[str, str]:
    """Return what results depend on: plan, script (given as its hash), records and this package, as hashes."""
    code = hashlib.sha256()
    for source in sorted(Path(__file__).parents[1].rglob("*.py")):
        code.update(source.read_bytes())
    for name in store.names:  # the source of the dictionary
        code.update(package[name].sha256.encode())
    return {
        "study": file.sha256(),
        "script": script,
        "records": store.fingerprint(),
        "package": code.hexdigest(),
    }


def last_run(
    results: Path, only: Mapping[str, str] | None = None
) -> tuple[dict[str, str], list[dict[str, object]], Results | None]:
    """Return what the last run depended on, its record files, and its results; nothing if there was none.

    Parameters
    ----------
    results : Path
        The folder that a run writes.
    only : mapping, optional
        Read the results only if they depend on this (`run_key`).
    """
    put_back(results)
    stamp = results / KEY
    if not stamp.exists():
        return {}, [], None
    with locked(results):  # a run that ends now replaces the folder
        key = json.loads(stamp.read_text(encoding="utf-8"))
        inputs = json.loads((results / INPUTS).read_text(encoding="utf-8"))
        return key, inputs, Results.read(results) if only is None or only == key else None


def write_run(folder: Path, results: Results, key: Mapping[str, str], inputs: Sequence[Mapping[str, object]]) -> None:
    """Replace the last results with those of a run, readable only by their owner."""
    with new_folder(folder, access="private") as work:
        results.write(work)
        write_text(work / INPUTS, json.dumps(inputs, indent=1))
        write_text(work / KEY, json.dumps(key, indent=1))


def inputs_of(store: Store) -> list[dict[str, object]]:
    """Return the record files that a store shows, each with its SHA-256, for use inside the agency only.

    Where identifiers are hashed and the environment has the key, each has a ``fingerprint`` as well: the HMAC of that
    hash under the same key.

    Raises
    ------
    StoreError
        If the environment's key is not the store's.
    """
    inputs = [{**file, "vintage": store.vintage} for file in loaded_files(store)]
    if not (store.reading.hashed and os.environ.get(ENVIRONMENT)):
        return inputs
    key = store.key()
    return [{**item, "fingerprint": _fingerprint(key, str(item["sha256"]))} for item in inputs]


def _fingerprint(key: bytes, digest: str) -> str:
    """Return the HMAC of a file's hash; a prefix states its purpose, so it is never a person's pseudonym.

    Examples
    --------
    >>> _fingerprint(b"key", "00") == _fingerprint(b"key", "00"), _fingerprint(b"key", "00") == _fingerprint(b"k", "00")
    (True, False)
    """
    return hmac.new(key, b"retrain_eval record file\n" + digest.encode(), "sha256").hexdigest()


def keep_opened(store: Path, registration: Registration, opened: Collection[str]) -> None:
    """Keep in a store's folder the hashes of the record files that a run had read when a plan was registered."""
    recorded = _read(store / OPENED)
    write_text(store / OPENED, json.dumps({**recorded, registration.sha256: sorted(set(opened))}, indent=1),
               access="private")  # fmt: skip


def opened_of(store: Path) -> Mapping[str, Sequence[str]]:
    """Return, by hash of a registration, the record files that had been read; see `keep_opened`."""
    return _read(store / OPENED)


def keep_edition(store: Path, bundle: Bundle, inputs: Sequence[Mapping[str, object]]) -> None:
    """Keep in a store's folder which record files an edition was made from, by their exact hashes."""
    recorded = _read(store / EDITIONS)
    entry = {"manifest_sha256": bundle.sha256, "inputs": [dict(item) for item in inputs]}
    earlier = [one for one in recorded.get(bundle.edition, []) if one["manifest_sha256"] != bundle.sha256]
    text = json.dumps({**recorded, bundle.edition: [*earlier, entry]}, indent=1, ensure_ascii=False, sort_keys=True)
    write_text(store / EDITIONS, text, access="private")


def _read(path: Path) -> dict[str, Any]:
    contents: dict[str, Any] = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    return contents
