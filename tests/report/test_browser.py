"""The report as a browser shows it: from a folder, without scripts, to everyone, on a phone."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from retrain_eval.report.building.pdf import find_browser

CHROMIUM = find_browser()
SWITCHES = [
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
]

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium or Chrome on PATH"),
]
sync_api = pytest.importorskip("playwright.sync_api", reason="needs playwright")
axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="needs axe-playwright-python")


@pytest.fixture(scope="module")
def browser() -> Iterator[sync_api.Browser]:
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=SWITCHES)
        yield browser
        browser.close()


def pages(report: Path) -> list[Path]:
    found = sorted(report.glob("*.html"))
    assert len(found) > 8
    return found


@pytest.mark.parametrize("width", [1280, 390])
def test_nothing_is_asked_of_the_outside_and_no_page_scrolls_sideways(
    browser: sync_api.Browser, report: Path, width: int
) -> None:
    context = browser.new_context(viewport={"width": width, "height": 900}, java_script_enabled=False)
    asked: list[str] = []
    failed: list[str] = []
    context.on("request", lambda request: asked.append(request.url))
    context.on("requestfailed", lambda request: failed.append(request.url))
    page = context.new_page()
    for file in pages(report):
        page.goto(file.as_uri())
        assert page.locator("h1").inner_text().strip()
        assert page.locator("main").inner_text().count(" ") > 20
        assert page.evaluate("document.documentElement.scrollWidth") <= width, file.name
    assert asked
    assert [url for url in asked if not url.startswith(("file:", "data:"))] == []
    assert failed == []
    context.close()


def test_figures_are_drawn_for_the_width_of_the_page(browser: sync_api.Browser, report: Path) -> None:
    for width, suffix in ((1280, "fig-event.svg"), (390, "fig-event-narrow.svg")):
        page = browser.new_page(viewport={"width": width, "height": 900})
        page.goto((report / "effects.html").as_uri())
        image = page.locator("#fig-event img")
        assert image.evaluate("image => image.currentSrc").endswith(suffix)
        assert image.evaluate("image => image.naturalWidth") > 100
        page.close()


def test_no_page_has_an_accessibility_violation(browser: sync_api.Browser, report: Path) -> None:
    found = {}
    for width in (1280, 390):
        page = browser.new_page(viewport={"width": width, "height": 900})
        for file in pages(report):
            page.goto(file.as_uri())
            violations = axe.Axe().run(page).response["violations"]
            if violations:
                found[file.name, width] = [
                    (item["id"], [node["html"] for node in item["nodes"]]) for item in violations
                ]
        page.close()
    assert found == {}


def test_the_menu_and_wide_tables_work_by_keyboard_without_scripts(browser: sync_api.Browser, report: Path) -> None:
    context = browser.new_context(viewport={"width": 390, "height": 800}, java_script_enabled=False)
    page = context.new_page()
    page.goto((report / "effects.html").as_uri())
    menu = page.locator("details.menu")
    assert not menu.locator("nav").is_visible()
    menu.locator("summary").focus()
    page.keyboard.press("Enter")
    assert menu.locator("nav").is_visible()
    assert menu.locator("a[aria-current=page]").inner_text() == page.locator("h1").inner_text()
    table = page.locator("#tbl-comparison .scroll")
    table.focus()
    page.keyboard.press("ArrowRight")
    page.wait_for_timeout(300)
    assert table.evaluate("element => element.scrollLeft") > 0
    context.close()
