"""The real engine: what one build gives, what stops a build, and that two builds are the same bytes."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import textwrap
import time
import zipfile
from pathlib import Path

import pytest

import bundles
from retrain_eval.common.errors import ReleaseError, ReportError
from retrain_eval.common.resources import resource
from retrain_eval.release.bundle import Bundle
from retrain_eval.report.building import book

PAGES = {"index", "sample", "balance", "effects", "jobs", "subgroups", "sensitivity", "stability", "replication",
         "plan", "years", "methods", "limitations", "dictionary", "downloads", "print"}  # fmt: skip


def hashes(folder: Path) -> dict[str, str]:
    return {
        file.relative_to(folder).as_posix(): hashlib.sha256(file.read_bytes()).hexdigest()
        for file in sorted(folder.rglob("*"))
        if file.is_file()
    }


def test_a_report_has_its_pages_and_says_what_it_was_made_from(report: Path, bundle_paths: list[Path]) -> None:
    assert {file.stem for file in report.glob("*.html")} == PAGES
    index = (report / "index.html").read_text(encoding="utf-8")
    assert "+$1,707" in index
    assert Bundle.open(bundle_paths[0]).sha256 in index
    assert "+$2,432" in index
    assert sum(file.stat().st_size for file in report.rglob("*.html")) < 3_000_000


def test_synthetic_data_are_named_on_every_page(report: Path) -> None:
    pages = {file.stem: file.read_text(encoding="utf-8") for file in report.glob("*.html")}
    assert {name for name, text in pages.items() if "<strong>Synthetic data.</strong>" in text} == PAGES


def test_what_cells_hide_is_not_published(report: Path) -> None:
    published = {file.suffix for file in report.rglob("*") if file.is_file() and "release" not in file.parts}
    assert published == {".html", ".css", ".svg", ".csv", ".json"}
    pages = "".join(file.read_text(encoding="utf-8") for file in report.glob("*.html"))
    assert "open_release" not in pages  # code of hidden cells
    assert "<math" in pages
    assert "katex" not in pages


def test_every_file_the_pages_refer_to_is_there_and_no_other(report: Path) -> None:
    pages = "".join(file.read_text(encoding="utf-8") for file in report.glob("*.html"))
    made = [file.relative_to(report).as_posix() for kind in ("figures", "data") for file in (report / kind).iterdir()]
    assert made
    assert [name for name in made if name not in pages] == []
    figures = {part.split('"')[0] for part in pages.split('src="')[1:]}
    assert figures
    assert all((report / name).is_file() for name in figures)


def test_bundles_travel_with_the_report(report: Path, bundle_paths: list[Path], tmp_path: Path) -> None:
    for path in bundle_paths:
        bundle = Bundle.open(path)
        copy = report / "release" / bundle.name / bundle.edition
        assert hashes(copy) == hashes(path)
        with zipfile.ZipFile(copy.parent / f"{bundle.name}-{bundle.edition}.zip") as packed:
            packed.extractall(tmp_path / bundle.name)
        assert Bundle.open(tmp_path / bundle.name / bundle.edition).sha256 == bundle.sha256


def test_an_unchanged_report_is_not_built_again(
    report: Path, bundle_paths: list[Path], earlier_paths: list[Path]
) -> None:
    before = (report / "index.html").stat().st_mtime_ns
    said: list[str] = []
    assert book.build(bundle_paths, report, earlier=earlier_paths, progress=said.append) == report / "index.html"
    assert said == ["the report is up to date"]
    assert (report / "index.html").stat().st_mtime_ns == before


def test_nothing_outlives_a_build(tmp_path: Path) -> None:
    """The engine leaves a Jupyter server behind; whatever is started for a build ends with it."""
    child = "import time; time.sleep(120)"
    parent = f"import subprocess, sys; print(subprocess.Popen([sys.executable, '-c', {child!r}]).pid)"
    (tmp_path / "work").mkdir()
    status, told = book._run_group([sys.executable, "-c", parent], tmp_path / "work", dict(os.environ))
    assert status == 0
    for _ in range(50):
        state = subprocess.run(["ps", "-o", "stat=", "-p", told.strip()], capture_output=True, text=True, check=False)
        if not state.stdout.strip() or state.stdout.startswith("Z"):
            return
        time.sleep(0.1)
    pytest.fail(f"process {told.strip()} is still running")


def test_an_altered_bundle_is_refused(tmp_path: Path) -> None:
    paths = bundles.write_release(tmp_path / "release")
    (paths[0] / "effects.csv").write_text("result\n", encoding="utf-8")
    with pytest.raises(ReleaseError, match=r"altered: effects\.csv"):
        book.build(paths, tmp_path / "html")


# --- what stops a build

QUIET = "---\ntitle: {name}\n---\n\nWords.\n"
BROKEN = {
    "a failing cell": ("```{code-cell} python\nopen('nowhere')\n```\n", "FileNotFoundError"),
    "an expression that fails": ("{eval}`1 / 0`\n", "division by zero"),
    "a figure without alt text": (
        ":::{figure}\n:label: fig-x\n```{code-cell} python\n:tags: [remove-input]\n"
        "from IPython.display import display\n"
        "display({'image/svg+xml': '<svg xmlns=\"http://www.w3.org/2000/svg\"/>'}, raw=True)\n```\nCaption.\n:::\n",
        "fig-x has no alt text",
    ),
    "a broken reference": ("See [](#nowhere).\n", "nowhere"),
    "a broken citation": ("As {cite:p}`nobody1900` says.\n", "nobody1900"),
    "math that cannot be set": ("$\\frac{x}$\n", "frac"),
}


@pytest.fixture
def short_book(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Copy the book with its pages cut to a line, so that only the engine's verdict is timed."""
    source = tmp_path / "book"
    shutil.copytree(resource("book"), source)
    for file in source.glob("*.md"):
        file.write_text(QUIET.format(name=file.stem), encoding="utf-8")
    monkeypatch.setattr(book, "resource", lambda name: source)
    return source


@pytest.mark.slow
@pytest.mark.parametrize("what", BROKEN)
def test_a_broken_page_stops_the_build_and_the_last_report_stands(
    what: str, short_book: Path, tmp_path: Path, bundle_paths: list[Path]
) -> None:
    body, says = BROKEN[what]
    head = "---\ntitle: Broken\nkernelspec: {name: python3, display_name: Python 3}\n---\n\n"
    (short_book / "index.md").write_text(head + body, encoding="utf-8")
    last = tmp_path / "html"
    last.mkdir()
    (last / "index.html").write_text("the last report", encoding="utf-8")
    with pytest.raises(ReportError) as caught:
        book.build(bundle_paths[2:], last)
    assert says in str(caught.value)
    assert len(str(caught.value).splitlines()) <= 24
    assert (last / "index.html").read_text(encoding="utf-8") == "the last report"
    assert [file.name for file in last.iterdir()] == ["index.html"]


OFFLINE = """
import fcntl, socket, struct, sys
from pathlib import Path
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:  # only the local address is up in here
    fcntl.ioctl(s, 0x8914, struct.pack("16sh", b"lo", 0x41))
if [name for _, name in socket.if_nameindex()] != ["lo"]:
    sys.exit("there is a network")
from retrain_eval.report.building import book
main, earlier = ([Path(p) for p in text.split("|")] for text in sys.argv[2:])
book.build(main, Path(sys.argv[1]), earlier=earlier)
"""


@pytest.mark.slow
def test_without_a_network_elsewhere_and_on_another_day_the_bytes_are_the_same(
    report: Path, bundle_paths: list[Path], earlier_paths: list[Path], tmp_path: Path
) -> None:
    isolated = ["unshare", "--user", "--map-root-user", "--net"]
    if shutil.which("unshare") is None or subprocess.run([*isolated, "true"], check=False).returncode:
        pytest.skip("needs unshare with user namespaces to take the network away")
    moved = [shutil.copytree(path, tmp_path / "moved" / path.name) for path in bundle_paths]
    env = os.environ | {"TZ": "Asia/Tokyo", "SOURCE_DATE_EPOCH": "86400", "PYTHONHASHSEED": "7"}
    command = [*isolated, sys.executable, "-c", textwrap.dedent(OFFLINE), str(tmp_path / "html")]
    command += ["|".join(map(str, paths)) for paths in (moved, earlier_paths)]
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert hashes(tmp_path / "html") == hashes(report)
    assert json.loads((report / book.STAMP).read_text())["bundles"] == [Bundle.open(p).sha256 for p in bundle_paths]
