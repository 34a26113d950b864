"""The whole report as one page, for printing: identifiers made unique, links between pages turned into links within."""

from __future__ import annotations

import re

from nodes import named

_IDENTIFIER = re.compile(r'(?<![\w-])(id|headers|aria-labelledby)="([^"]+)"')
_WITHIN = re.compile(r'href="#(?!ref-)([^"]+)"')  # references stand once, at the end: their names stay
_BETWEEN = re.compile(r'href="([a-z0-9_-]+)\.html(?:#([^"]*))?"')
_HEADING = re.compile(r"<(/?)h([2-5])\b")


def anchor(slug: str, name: str = "") -> str:
    """Return the identifier that a page, or something on it, has in the one page.

    Examples
    --------
    >>> anchor("effects"), anchor("effects", "fig-event")
    ('effects', 'effects--fig-event')
    """
    return f"{slug}--{name}" if name else slug


def section(slug: str, body: str) -> str:
    """Return a page's body as a section of the one page: its headings one level down.

    Parameters
    ----------
    slug : str
        Name of the page.
    body : str
        Its HTML.

    Examples
    --------
    >>> section("effects", '<h2 id="a">A</h2><a href="#a">a</a> <a href="methods.html#b">b</a>')
    '<h3 id="effects--a">A</h3><a href="#effects--a">a</a> <a href="#methods--b">b</a>'
    """
    body = _IDENTIFIER.sub(lambda m: f'{m[1]}="{named(m[2], slug, "--")}"', body)
    body = _WITHIN.sub(lambda m: f'href="#{anchor(slug, m[1])}"', body)
    body = _BETWEEN.sub(lambda m: f'href="#{anchor(m[1], m[2] or "")}"', body)
    # tables of two pages may have one caption: a landmark would have to have a name of its own
    body = body.replace('role="region"', 'role="group"')
    return _HEADING.sub(lambda m: f"<{m[1]}h{int(m[2]) + 1}", body)
