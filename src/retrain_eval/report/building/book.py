"""Build the book of a release: Jupyter Book 2 with the book's own theme, in a private folder, offline.

A failed cell, a missing text alternative or a broken reference stops the build, and the last report stays.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import zipfile
from collections.abc import Callable, Sequence
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path
from typing import Any

from jinja2 import Environment, StrictUndefined

import retrain_eval
from retrain_eval.common.disk import disk_errors, is_full, store_error
from retrain_eval.common.errors import ReportError
from retrain_eval.common.files import new_folder, scratch_folder, sha256
from retrain_eval.common.limits import MEMORY, ONE_THREAD
from retrain_eval.common.periods import a_year
from retrain_eval.common.resources import resource
from retrain_eval.common.untrusted import read_bytes
from retrain_eval.release.opening import MANIFEST, SIGNATURE, inventory, limit_of
from retrain_eval.release.verification.verify import Verification
from retrain_eval.report.language.catalogue import ENGLISH, N_, TAGS, _, language, speaking
from retrain_eval.report.language.messages import messages_of_template, translated
from retrain_eval.report.page import (
    COMPANIONS,
    EARLIER,
    LANGUAGE,
    RELEASE,
    RELEASE_SHA256,
    Release,
    Study,
    open_release,
)

STAMP = "build.json"
ENTRY = "index.html"
ENGINE = ("build", "--html", "--execute", "--strict", "--ci")
_LEAST = 2**20  # free bytes; with fewer, a failed build has filled the disk
TIMEOUT = 900  # seconds; a book takes about one minute
# a page's imports come before its limits, so that the limits apply to the bundle
START_OF_PAGE = """import retrain_eval.report.page
from retrain_eval.common.limits import limit_process

limit_process()
del retrain_eval, limit_process
"""
FOREIGN = ("JUPYTER_BASE_URL", "JUPYTER_TOKEN", "JUPYTER_PATH", "BASE_URL", "HOST", "PORT")
# part of the contents → pages in order, each with the table or result that it needs
CONTENTS: dict[str, tuple[tuple[str, str], ...]] = {
    "": (("index", ""),),
    N_("The people"): (("sample", "flow"), ("balance", "balance")),
    N_("The results"): (
        ("effects", "event_study"),
        ("jobs", "outcomes"),
        ("wage_path", "wage_path_asked"),
        ("subgroups", "subgroups"),
        ("not_retrainable", "programmes"),
        ("money", "money"),
        ("providers", "providers_asked"),
        ("sensitivity", "sensitivity"),
        ("stability", "survival"),
        ("digital_divide", "digital_divide"),
        ("replication", "replication"),
    ),
    N_("For reference"): (
        ("years", "earlier"),
        ("plan", ""),
        ("methods", ""),
        ("limitations", ""),
        ("dictionary", "dictionary"),
        ("downloads", ""),
    ),
}


def build(
    bundles: Sequence[Path],
    output: Path,
    *,
    earlier: Sequence[Path] = (),
    speech: str = ENGLISH,
    progress: Callable[[str], None] | None = None,
    force: bool = False,
    verified: Sequence[Verification] = (),
) -> Path:
    """Build the report of a release and return its first page.

    Parameters
    ----------
    bundles : sequence of Path
        Release bundles: the study the report is about, then those printed next to it.
    output : Path
        Folder of the report; replaced as a whole when the build succeeds.
    earlier : sequence of Path
        Earlier editions of the main study, the first one first.
    speech : str
        Language of the report: ``"en"`` or ``"zh"``.
    progress : callable, optional
        Given one line of text at each stage.
    force : bool
        Build even where the report was made from the same bundles, pages and program.
    verified : sequence of Verification
        Results of verifying the editions, which the report states.

    Raises
    ------
    ReleaseError
        If a bundle is not as it was released.
    ReportError
        If the book cannot be built; the last report stays.
    """
    with speaking(speech):
        release = open_release(bundles, earlier)
        _check_places(release)
        return _build(release, output, progress or (lambda _: None), force, verified)


def _check_places(release: Release) -> None:
    """Refuse two bundles that the report would write to the same folder."""
    places = [study.folder.casefold() for study in release.studies]
    if twice := [place for place in places if places.count(place) > 1]:
        raise ReportError(f"two bundles claim to be {twice[0].removeprefix('release/')}; a report can show only one")


def _build(
    release: Release, output: Path, say: Callable[[str], None], force: bool, verified: Sequence[Verification]
) -> Path:
    source = resource("book")
    stamp = {
        "bundles": [study.bundle.sha256 for study in release.studies],
        "signatures": [
            sha256(sig) if (sig := study.bundle.path / SIGNATURE).exists() else "" for study in release.studies
        ],
        "earlier": [study.bundle.sha256 for study in release.earlier],
        "language": language(),
        "source": _fingerprint(source),
    }
    made = output / STAMP
    if not force and made.exists() and json.loads(made.read_text(encoding="utf-8")) == stamp:
        say("the report is up to date")
        return output / ENTRY
    with scratch_folder("retrain_eval_book_") as folder, disk_errors(folder, "the last report is kept"):
        work = folder / "book"
        prepare(release, source, work, verified)
        say(f"building {len(list(work.glob('*.md')))} pages")
        html = _run(release, work)
        _add_bundles(release, html)
        (html / STAMP).write_text(json.dumps(stamp, indent=1) + "\n", encoding="utf-8")
        with new_folder(output) as new:
            shutil.copytree(html, new, dirs_exist_ok=True)
    say(f"report: {output / ENTRY}")
    return output / ENTRY


def escaped(value: object) -> object:
    r"""Escape what a template prints of a bundle, so that it cannot end the string, code or role around it.

    The text is inside Python strings of code cells and ``{eval}`` roles, where an escape means the character itself.

    Examples
    --------
    >>> print(escaped('a_b'), escaped('x"); import os #`\n'))
    a_b x\x22); import os #\x60\x0a
    """
    if not isinstance(value, str):
        return value
    return "".join(
        sign if sign.isprintable() and sign not in _ENDING else f"\\x{ord(sign):02x}" if ord(sign) < 256
        else f"\\U{ord(sign):08x}" for sign in value
    )  # fmt: skip


_ENDING = "\"'`\\{}<>$"


def prepare(release: Release, source: Path, work: Path, verified: Sequence[Verification] = ()) -> None:
    """Copy the book's source, with the pages and sections that this release has something to say on."""
    shutil.copytree(source, work, ignore=shutil.ignore_patterns("_build", "__pycache__"))
    parts = release.parts()
    env = Environment(line_statement_prefix="% ", block_start_string="<%", block_end_string="%>",
                      variable_start_string="<<", variable_end_string=">>", comment_start_string="<#",
                      comment_end_string="#>", undefined=StrictUndefined, keep_trailing_newline=True,
                      finalize=escaped)  # fmt: skip
    toc: list[dict[str, Any]] = []
    for part, pages in CONTENTS.items():
        kept = [page for page, need in pages if not need or need in parts]
        for page, _need in pages:
            file = work / f"{page}.md"
            if page in kept:
                text = translated(file.read_text(encoding="utf-8"), _)
                text = env.from_string(text).render(
                    release=release, parts=parts, verified=[_what_was(one, release) for one in verified], _=_,
                    **_of_time(release.main),
                )  # fmt: skip
                file.write_text(text, encoding="utf-8")
            else:
                file.unlink()
        entries = [{"file": f"{page}.md"} for page in kept]
        toc += [{"title": _(part), "children": entries}] if part and entries else entries
    facts = release.main.facts
    project = {"version": 1, "project": {"title": facts["title"], "toc": toc}}
    (work / "edition.yml").write_text(json.dumps(project, ensure_ascii=False), encoding="utf-8")  # JSON is YAML
    edition = {
        "title": facts["title"],
        "edition": release.main.bundle.edition,
        "sha256": release.main.bundle.sha256,
        "question": facts["question"],
        "synthetic": bool(facts.get("synthetic")),
        "approved_by": release.main.bundle.approved_by,
        "corrects": dict(release.main.bundle.corrects),
        "citation": facts.get("citation") or "",
        "software": f"retrain-eval {version('retrain-eval')}, Python {release.main.bundle.manifest['python']}, "
        f"Jupyter Book {version('jupyter-book')}",
        "licence": _("Text and figures may be reused with attribution; the software is under the MIT licence."),
        "language": TAGS[language()],
        "messages": {message: _(message) for message in theme_messages(source)},
    }
    (work / "edition.json").write_text(json.dumps(edition, ensure_ascii=False), encoding="utf-8")


def _what_was(verification: Verification, release: Release) -> str:
    """Say what the verification of one edition proved."""
    of = next(
        (one.bundle for one in (*release.studies, *release.earlier) if one.bundle.path == verification.path), None
    )
    return _(
        "{edition}: {rederived:,} numbers re-derived, {covariance:,} re-derived on a released covariance, {stated:,} "
        "stated",
        edition=verification.path.name if of is None else f"{of.name} {of.edition}",
        rederived=verification.n_rederived,
        covariance=sum(verification.on_covariance.values()),
        stated=sum(verification.stated.values()),
    )


def _of_time(study: Study) -> dict[str, str]:
    """Return the words for a study's periods that its pages use."""
    words, quality = study.words, study.bundle.study.get("quality", {})
    year = a_year(words.period)
    return {"period": _(words.period), "periods": words.several, "a_year": words.periods(year),
            "tenure": words.periods(quality.get("min_tenure") or year)}  # fmt: skip


def theme_messages(source: Path) -> list[str]:
    """Return the words of the theme: of its templates and of what it writes around a page's parts."""
    theme = source / "theme"
    files = [*sorted((theme / "templates").glob("*.j2")), theme / "nodes.py"]
    return list(dict.fromkeys(m for file in files for m in messages_of_template(file.read_text(encoding="utf-8"))))


def _run(release: Release, work: Path) -> Path:
    """Run Jupyter Book in the private folder and return the site it made."""
    main, *others = release.studies
    settings = work.parent / "jupyter"
    settings.mkdir()
    (settings / "jupyter_server_config.json").write_text('{"ServerApp": {"allow_root": true}}', encoding="utf-8")
    start = settings / "profile_default" / "startup"
    start.mkdir(parents=True)
    (start / "00-limits.py").write_text(START_OF_PAGE, encoding="utf-8")
    # a private Jupyter: no kernel, start-up file or running server of the user's own can reach into the report
    env = {name: value for name, value in os.environ.items() if name not in FOREIGN} | {
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")]),
        **dict.fromkeys(("JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR", "IPYTHONDIR"), str(settings)),
        "PYTHONHASHSEED": "0",
        "PYTHONWARNINGS": "ignore",
        "MPLBACKEND": "agg",
        "MPLCONFIGDIR": str(settings),
        "NO_COLOR": "1",
        **ONE_THREAD,
        "NODE_OPTIONS": f"--max-old-space-size={MEMORY // 2**20}",
        RELEASE: str(main.bundle.path.resolve()),
        RELEASE_SHA256: main.bundle.sha256,
        COMPANIONS: os.pathsep.join(str(study.bundle.path.resolve()) for study in others),
        LANGUAGE: language(),
        EARLIER: os.pathsep.join(str(study.bundle.path.resolve()) for study in release.earlier),
    }
    status, output = _run_group([sys.executable, "-m", "jupyter_book", *ENGINE], work, env)
    html = work / "_build" / "html"
    if status != 0 or not (html / ENTRY).exists():
        if is_full(output) or shutil.disk_usage(work).free < _LEAST:
            raise store_error(
                OSError(errno.ENOSPC, "", str(work)), work, "the report was not built; the last one is kept"
            )
        raise ReportError("the report was not built; the last one is kept\n" + _helpful(output))
    return html


def _run_group(command: list[str], folder: Path, env: dict[str, str]) -> tuple[int, str]:
    """Run a program with everything it starts in one process group, and end the group with it.

    The engine leaves its Jupyter server running; nothing may outlive a build, not even one whose parent was killed.
    """
    log = folder.parent / "build.log"
    command = [sys.executable, "-m", "retrain_eval.report.building.process_group", *command]
    with log.open("wb") as out:
        try:
            process = subprocess.Popen(
                command, cwd=folder, env=env, stdin=subprocess.PIPE, stdout=out, stderr=out, start_new_session=True
            )
        except OSError as error:
            raise ReportError(f"Jupyter Book did not start: {error}") from error
        try:
            status = process.wait(TIMEOUT)
        except subprocess.TimeoutExpired:
            raise ReportError(f"Jupyter Book was stopped after {TIMEOUT // 60} minutes") from None
        finally:
            with suppress(ProcessLookupError, AttributeError):
                os.killpg(process.pid, signal.SIGTERM)
    return status, log.read_text(encoding="utf-8", errors="replace")


def _helpful(output: str, lines: int = 12) -> str:
    """Return the first lines of the engine's output that say what went wrong."""
    text = re.sub(r"\x1b\[[0-9;]*m", "", output)
    messages = [line.strip() for line in text.splitlines() if line.strip()]
    if any(line.startswith("Traceback") for line in messages):  # from a page's code: the last line is the message
        raised = re.compile(r"[A-Za-z_][\w.]*(Error|Exception): ")
        messages = [line for line in messages if raised.match(line) or "⛔" in line] or messages
    marks = ("⛔", "refused", "Error", "error:", "not ", "⚠")
    first = next(
        (i for i, line in enumerate(messages) if any(mark in line for mark in marks)), max(0, len(messages) - lines)
    )
    return "\n".join(f"  {line[:200]}" for line in messages[first : first + lines])


def _add_bundles(release: Release, html: Path) -> None:
    """Put each bundle next to the pages, as files and as one archive with fixed dates."""
    for study in release.studies:
        source, folder = study.bundle.path, html / study.folder
        listed = set(study.bundle.manifest["files"])
        names = [name for name in sorted(inventory(source)) if name in listed or name in (MANIFEST, SIGNATURE)]
        archive = folder.parent / f"{study.bundle.name}-{study.bundle.edition}.zip"
        for place in (folder, archive):
            if not place.resolve().is_relative_to(html.resolve()):
                raise ReportError(f"the bundle {source} would be written to {place}, outside the report")
        folder.mkdir(parents=True, exist_ok=True)
        with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as packed:
            for name in names:
                content = read_bytes(source, name, limit_of(name))
                (folder / name).parent.mkdir(exist_ok=True)
                (folder / name).write_bytes(content)
                entry = zipfile.ZipInfo(f"{study.bundle.edition}/{name}", date_time=(1980, 1, 1, 0, 0, 0))
                entry.compress_type = zipfile.ZIP_DEFLATED
                packed.writestr(entry, content)


def _fingerprint(source: Path) -> str:
    """Return one hash of the book's source, the package's code and the engine's version."""
    digest = hashlib.sha256(version("jupyter-book").encode())
    for root in (source, Path(retrain_eval.__file__).parent):
        for file in sorted(root.rglob("*")):
            if file.is_file() and not {"_build", "__pycache__"} & set(file.parts):
                digest.update(file.relative_to(root).as_posix().encode() + b"\0" + file.read_bytes())
    return digest.hexdigest()
