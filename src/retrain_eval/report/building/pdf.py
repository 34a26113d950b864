"""The report as a PDF: a Chromium that is there prints the one-page report. None is ever downloaded."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

from retrain_eval.common.errors import ReportError
from retrain_eval.common.files import PUBLIC, scratch_folder

BROWSERS = ("chromium", "chromium-browser", "google-chrome-stable", "google-chrome", "chrome", "msedge")
SOURCE, TARGET = "print.html", "report.pdf"
TIMEOUT = 300  # seconds; a report prints in two or three
# the page is our own, without scripts; nothing but the file is opened
SWITCHES = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-extensions"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-dev-shm-usage"),
    *("--no-pdf-header-footer", "--generate-pdf-document-outline"),
)
_DATES = re.compile(rb"/(CreationDate|ModDate) \(D:\d{14}")
_EPOCH = b"19800101000000"  # of the same length, so that no offset in the file changes


def find_browser() -> str | None:
    """Return the Chromium, Chrome or Edge on the path, if there is one."""
    return next((path for name in BROWSERS if (path := shutil.which(name))), None)


def print_pdf(report: Path, browser: str) -> Path:
    """Print a report to ``report.pdf`` in its folder: tagged, with text alternatives and an outline.

    Parameters
    ----------
    report : Path
        Folder of a report.
    browser : str
        The browser's program.

    Returns
    -------
    Path
        The PDF, without the time at which it was made.

    Raises
    ------
    ReportError
        If the browser does not print; no half-written file is left.
    """
    source = (report / SOURCE).resolve()
    if not source.exists():
        raise ReportError(f"the report {report} has no {SOURCE}: build it anew with --force")
    with scratch_folder("retrain_eval_pdf_") as name:
        made = name / TARGET
        command = [browser, *SWITCHES, f"--user-data-dir={name}/profile", f"--print-to-pdf={made}", source.as_uri()]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT, check=False)
        except (OSError, subprocess.TimeoutExpired) as error:
            raise ReportError(f"{browser} did not print the report: {error}") from error
        if done.returncode != 0 or not made.exists():
            messages = done.stderr.strip().splitlines()[-3:]
            raise ReportError(
                f"{browser} did not print the report\n" + "\n".join(f"  {line[:200]}" for line in messages)
            )
        content = _DATES.sub(lambda m: b"/" + m[1] + b" (D:" + _EPOCH, made.read_bytes())
    target = report / TARGET
    part = target.with_name(f".{TARGET}.part")
    part.write_bytes(content)
    part.chmod(PUBLIC[1])
    part.replace(target)
    return target
