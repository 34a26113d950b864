"""Write the book as static HTML: no script, no request to anywhere, readable from a folder; and as one page, to print.

Jupyter Book runs this program (`build.render` in template.yml) when every page is parsed and executed. It
serves the pages at ``CONTENT_CDN`` and expects the site in ``BUILD_DIRECTORY``. What this edition is, for the
footer of each page, stands in ``edition.json`` beside myst.yml.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import sys
from pathlib import Path
from typing import Any
from urllib.request import ProxyHandler, build_opener

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup
from nodes import Page, ThemeError
from onefile import section

THEME = Path(__file__).resolve().parent
OUTWARD = re.compile(
    r"""(?:\bsrc|\bsrcset)\s*=\s*["']?\s*(?:https?:)?//|url\(\s*["']?(?:https?:)?//|<script\b|<iframe\b"""
)

MINUS = re.compile(r"−(?=[$€£¥])")
TIGHT = re.compile(r"(?<=[。，、；：？！）”])[ \n]+(?=[^\s<])|(?<=[^\s>])[ \n]+(?=[。，、；：？！（“])")


class Site:
    """Where the engine serves the parsed book."""

    def __init__(self, address: str) -> None:
        self.address = address.rstrip("/")
        self.opener = build_opener(ProxyHandler({}))  # a local address: never through a proxy

    def text(self, path: str) -> str:
        """Return one file."""
        with self.opener.open(self.address + path, timeout=30) as response:
            return str(response.read().decode("utf-8"))

    def json(self, path: str) -> Any:
        """Return one JSON file, parsed."""
        return json.loads(self.text(path))


def contents(config: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the entries of the navigation in order: pages, and the titles of groups, which have no slug."""
    project = config["projects"][0]
    first = {"slug": project["index"], "title": "", "level": 1}
    return [first, *project["pages"]]


def set_tight(html: str, language: str) -> str:
    """Return the page as its language sets it: Chinese has no space after its punctuation.

    A minus keeps with the sign of the currency after it: browsers break lines there.

    Examples
    --------
    >>> set_tight("一。 二", "zh-Hans"), set_tight("One. Two", "en")
    ('一。二', 'One. Two')
    >>> set_tight("−$692", "en") == "−\u2060$692"
    True
    """
    html = MINUS.sub("−\u2060", html)
    return TIGHT.sub("", html) if language.startswith("zh") else html


def checked(html: str, slug: str) -> str:
    """Return the page, or refuse it for reaching out of the report."""
    found = OUTWARD.search(html)
    if found is not None:
        raise ThemeError(
            f"{slug}: the page would load something from outside: {html[found.start() : found.start() + 80]}"
        )
    return html


def build(site: Site, out: Path, edition: dict[str, Any]) -> None:
    """Write every page, its figures and its data."""
    entries = contents(site.json("/config.json"))
    parsed = {entry["slug"]: site.json(f"/content/{entry['slug']}.json") for entry in entries if entry.get("slug")}
    for entry in entries:
        if entry.get("slug"):
            entry["title"] = parsed[entry["slug"]]["frontmatter"]["title"]
            entry["href"] = Page.href(entry["slug"])
    pages = [entry for entry in entries if entry.get("slug")]

    env = Environment(loader=FileSystemLoader(THEME / "templates"), autoescape=True, undefined=StrictUndefined,
                      trim_blocks=True, lstrip_blocks=True)  # fmt: skip
    messages: dict[str, str] = edition.get("messages", {})
    env.globals["_"] = lambda message: messages.get(message, message)
    template = env.get_template("page.html.j2")
    out.mkdir(parents=True, exist_ok=True)
    sections: list[dict[str, Any]] = []
    sources: dict[str, Markup] = {}
    for number, entry in enumerate(pages):
        slug = entry["slug"]
        page = Page(slug, site.text, messages)
        body = set_tight(page.render(parsed[slug]["mdast"]), edition.get("language", "en"))
        cited = (parsed[slug].get("references") or {}).get("cite") or {"order": [], "data": {}}
        references = {label: Markup(cited["data"][label]["html"]) for label in cited["order"]}
        description = parsed[slug]["frontmatter"].get("description", "")
        html = template.render(
            slug=slug,
            entry=entry,
            entries=entries,
            body=Markup(body),
            headings=page.headings,
            footnotes=[Markup(note) for note in page.footnotes],
            references=sorted(references.items()),
            before=pages[number - 1] if number else None,
            after=pages[number + 1] if number + 1 < len(pages) else None,
            description=description,
            edition=edition,
        )
        (out / entry["href"]).write_text(checked(html, slug), encoding="utf-8")
        sources |= references
        sections.append(
            {
                "slug": slug,
                "title": entry["title"],
                "description": description,
                "body": Markup(section(slug, body)),
                "footnotes": [Markup(section(slug, note)) for note in page.footnotes],
            }
        )
        for name, content in page.files.items():
            file = out / name
            file.parent.mkdir(exist_ok=True)
            file.write_text(content, encoding="utf-8")
    whole = env.get_template("print.html.j2").render(
        entries=entries, sections=sections, references=sorted(sources.items()), edition=edition
    )
    (out / "print.html").write_text(checked(whole, "print"), encoding="utf-8")
    shutil.copytree(THEME / "static", out, dirs_exist_ok=True)


def main() -> int:
    """Build from the environment Jupyter Book sets; say on one line why a page was refused."""
    about = THEME.parent / "edition.json"
    edition = json.loads(about.read_text(encoding="utf-8")) if about.exists() else {}
    try:
        build(Site(os.environ["CONTENT_CDN"]), Path(os.environ["BUILD_DIRECTORY"]), edition)
    except ThemeError as error:
        print(f"the report was refused: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
