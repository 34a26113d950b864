"""A report is made from untrusted bundles: it verifies them first, writes only to its own folder, and runs none of
them."""

from __future__ import annotations

import ast
import html.parser
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from attacked import Change, changed, in_manifest, in_table, set_cell
from retrain_eval.common.errors import ReleaseError, ReportError
from retrain_eval.common.limits import ONE_THREAD
from retrain_eval.common.resources import resource
from retrain_eval.release.verification.verify import verify
from retrain_eval.report.building import book
from retrain_eval.report.page import open_release
from retrain_eval.study.folder import Study

POISON = (
    '<script>alert("x")</script><img src=x onerror=alert(1)> {eval}`open("./pwned","w")` {{7*7}} <<7*8>> <%raise%> '
    '[c](javascript:alert(1))\n\n```{code-cell} python\nopen("./pwned","w").write("x")\n```\n\n'
)
BREAKING = 'event_study_a"); open("pwned", "w") #`\n% set x = 1\n'


@pytest.fixture
def study(edition: Path, tmp_path: Path) -> Path:
    """Folder of a study whose edition can be altered."""
    shutil.copy(edition.parent.parent / "study.toml", tmp_path)
    shutil.copytree(edition, tmp_path / "release" / "2026")
    return tmp_path


def _put(study: Path, edition: Path, *changes: Change) -> None:
    shutil.rmtree(study / "release" / "2026")
    changed(edition, study / "release" / "2026", *changes)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (in_table("effects.csv", set_cell("did", "estimate", "9")), "estimate: published 9"),
        (in_manifest(lambda m: m["study"].update(name="../../ESC")), "cannot name the study"),
        (in_manifest(lambda m: m.update(edition="../../home")), "cannot name the edition"),
        (in_manifest(lambda m: m.update(edition="home")), "holds an edition named home"),
        (lambda b: (b / ".ssh").mkdir() or (b / ".ssh" / "authorized_keys").write_text("k"), "not a file of a bundle"),
        (lambda b: (b / "passwd").symlink_to("/etc"), "a symbolic link"),
    ],
)
def test_a_report_verifies_first_and_writes_nothing(edition: Path, study: Path, change: Change, said: str) -> None:
    _put(study, edition, change)
    with pytest.raises(ReleaseError, match=r"report|bundle|manifest|link") as refusal:
        Study.open(study).report("2026")
    assert said in str(refusal.value)
    assert sorted(path.name for path in study.iterdir()) == ["release", "study.toml"]


def test_two_bundles_of_one_name_are_refused(edition: Path, tmp_path: Path) -> None:
    with pytest.raises(ReportError, match="two bundles claim to be x/2026"):
        book.build([edition, edition], tmp_path / "html")


def _poisoned(edition: Path, target: Path) -> Path:
    """Return a bundle whose every text is an attack, with hashes and seal that fit."""

    def manifest(facts: dict[str, object]) -> None:
        words = dict.fromkeys(("title", "question", "data", "citation", "unit", "currency"), POISON)
        facts["study"] = {**facts["study"], **words, "limitations": [POISON]}
        facts |= {"approved_by": POISON, "protection": [POISON], "python": POISON, "packages": {"duckdb": POISON}}
        facts["inputs"] = [{"name": POISON, "file": POISON, "rows_in": 1, "rows_rejected": 0, "sha256": "a" * 64}]

    def effects(frame: pd.DataFrame) -> pd.DataFrame:
        paths = frame[frame["result"] == "event_study"]
        other = paths.assign(result=BREAKING, outcome=POISON, estimator=POISON)
        levels = frame["level"].where(frame["level"] == "", POISON + frame["level"])
        return pd.concat([frame.assign(level=levels), other], ignore_index=True)

    words = {"title": POISON, "description": POISON, "unit": POISON, "resource": BREAKING, "constraints": POISON}
    return changed(
        edition,
        target,
        in_manifest(manifest),
        in_table("effects.csv", effects),
        in_table("flow.csv", lambda frame: frame.assign(reason=POISON, step=POISON + frame["step"])),
        in_table("dictionary.csv", lambda frame: frame.assign(**words)),
    )


def test_no_text_of_a_bundle_becomes_code_of_a_page(edition: Path, tmp_path: Path) -> None:
    bundle = _poisoned(edition, tmp_path / "2026")
    assert not verify(bundle).ok  # a report stops here; what follows does not rely on it
    book.prepare(open_release([bundle]), resource("book"), tmp_path / "book")
    cells = [cell for page in (tmp_path / "book").glob("*.md") for cell in _cells(page.read_text(encoding="utf-8"))]
    assert len(cells) > 10
    texts = [node.value for cell in cells for node in ast.walk(ast.parse(cell)) if isinstance(node, ast.Constant)]
    assert BREAKING in texts  # it is the text that it was
    for cell in cells:
        calls = [node.func for node in ast.walk(ast.parse(cell)) if isinstance(node, ast.Call)]
        assert not any(isinstance(call, ast.Name) and call.id == "open" for call in calls)


def _cells(page: str) -> list[str]:
    """Return the code of a page: its cells, and the expressions in its roles."""
    blocks = page.split("```{code-cell} python\n")[1:]
    cells = [
        "\n".join(line for line in block.split("\n```")[0].splitlines() if not line.startswith(":")) for block in blocks
    ]
    return cells + [role.split("`")[0] for role in page.split("{eval}`")[1:]]


class _Live(html.parser.HTMLParser):
    """Collects what a browser would run."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []
        self.script = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.script = tag == "script"
        for name, value in attrs:
            text = (value or "").strip().lower()
            if name.startswith("on") or text.startswith("javascript:") or (name == "src" and text == "x"):
                self.found.append(f"<{tag} {name}={value}>")
        if tag in ("iframe", "object", "embed"):
            self.found.append(f"<{tag}>")

    def handle_data(self, data: str) -> None:
        if self.script and "alert(" in data and not data.lstrip().startswith(("{", "[")):
            self.found.append(data[:80])

    def handle_endtag(self, tag: str) -> None:
        self.script = False


@pytest.mark.slow
def test_no_text_of_a_bundle_is_live_in_a_report(
    edition: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    bundle = _poisoned(edition, tmp_path / "2026")
    book.build([bundle], tmp_path / "html")
    pages = sorted((tmp_path / "html").rglob("*.html"))
    assert pages
    for page in pages:
        live = _Live()
        live.feed(page.read_text(encoding="utf-8"))
        assert not live.found, (page.name, live.found)
    assert not list(tmp_path.rglob("pwned*"))
    assert json.loads((tmp_path / "html" / book.STAMP).read_text())["bundles"]


@pytest.mark.skipif(sys.platform != "linux", reason="other systems do not limit memory so")
def test_a_page_takes_no_more_memory_and_time_than_verify(tmp_path: Path) -> None:
    (tmp_path / "page.py").write_text(
        book.START_OF_PAGE
        + "import resource\nprint(resource.getrlimit(resource.RLIMIT_CPU)[0])\n"
        + "try:\n    bytearray(3 * 2**30)\nexcept MemoryError:\n    print('refused')\n"
    )
    env = {**os.environ, **ONE_THREAD}
    told = subprocess.run([sys.executable, tmp_path / "page.py"], capture_output=True, text=True, env=env, check=True)
    assert told.stdout.split() == ["121", "refused"]
