"""The report on one page and as a PDF: links that lead somewhere, tags, text alternatives, an outline."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

import own_study
from retrain_eval.common.errors import ReportError
from retrain_eval.report.building import pdf
from retrain_eval.study.folder import Study


def test_every_link_of_the_one_page_leads_to_one_place(report: Path) -> None:
    html = (report / pdf.SOURCE).read_text(encoding="utf-8")
    names = re.findall(r'\sid="([^"]+)"', html)
    assert sorted(names) == sorted(set(names))
    within = re.findall(r'href="#([^"]+)"', html)
    assert len(within) > 50
    assert set(within) <= set(names)
    outside = {link for link in re.findall(r'href="([^"#]+)"', html) if not link.startswith(("http", "data:,"))}
    assert not {link for link in outside if link.endswith(".html")}
    assert all((report / link).exists() for link in outside)
    pages = {file.stem for file in report.glob("*.html")} - {"print"}
    assert pages <= set(names)
    assert len(re.findall("<h1", html)) == 1


def test_the_one_page_has_every_figure_and_every_word(report: Path) -> None:
    whole = (report / pdf.SOURCE).read_text(encoding="utf-8")
    for file in report.glob("*.html"):
        page = file.read_text(encoding="utf-8")
        for figure in re.findall(r'<img src="[^"]+" alt="[^"]+">', page):
            assert figure in whole
        for text in re.findall(r"<p>([^<]{60,})</p>", page):
            assert text in whole, file.name


@pytest.mark.browser
@pytest.mark.skipif(pdf.find_browser() is None, reason="no Chromium or Chrome on PATH")
def test_the_pdf_is_tagged_has_an_outline_and_keeps_the_text_alternatives(report: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(report, tmp_path / "report"))
    browser = pdf.find_browser()
    assert browser is not None
    made = pdf.print_pdf(copy, browser).read_bytes()
    assert made.startswith(b"%PDF")
    assert re.search(rb"/MarkInfo\s*<<[^>]*/Marked true", made)
    assert b"/StructTreeRoot" in made
    assert b"/Outlines" in made
    figures = (copy / pdf.SOURCE).read_text(encoding="utf-8").count("<img ")
    assert figures > 5
    assert made.count(b"/Alt ") >= figures
    assert set(re.findall(rb"/CreationDate \(D:(\d{14})", made)) == {b"19800101000000"}
    assert [file.name for file in copy.iterdir() if file.name.endswith(".part")] == []


def test_without_a_browser_it_is_said_and_with_one_that_fails_no_half_is_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = own_study.make(tmp_path / "mine")
    study = Study.open(folder)
    study.run()
    study.release("2026")
    page = folder / "report" / "2026" / pdf.SOURCE
    page.parent.mkdir(parents=True)
    page.write_text("<!DOCTYPE html><title>x</title>")
    said: list[str] = []
    monkeypatch.setenv("PATH", str(tmp_path / "nothing"))
    assert study.pdf("2026", say=said.append) is None
    assert "no Chromium, Chrome or Edge was found" in said[0]

    broken = tmp_path / "bin" / "chromium"
    broken.parent.mkdir()
    broken.write_text("#!/bin/sh\necho 'no display' >&2\nexit 3\n")
    broken.chmod(0o755)
    monkeypatch.setenv("PATH", str(broken.parent))
    with pytest.raises(ReportError, match="did not print the report\n  no display"):
        study.pdf("2026")
    assert [file.name for file in page.parent.iterdir()] == [pdf.SOURCE]
