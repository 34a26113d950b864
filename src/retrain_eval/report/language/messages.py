"""The messages of the book's own sources: paragraphs of its pages, and marked words of its templates.

A page is written in English. Its title, description, headings, paragraphs, list items, captions and cells of tables are
one message each, with the roles in them (``{eval}``, ``{cite:p}``, links, math) unchanged. What only the engine reads
(front matter, fences, labels, lines of the page's template) is not a message.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path

Translate = Callable[[str], str]

_FRONT = re.compile(r'^(title|description): "(.*)"$')
_OPENING = re.compile(r"^(:{3,}\{\w+\})( .+)?$")
_ENGINE = re.compile(r"^(%|:\w+:|\(.+\)=$|:{3,}|\|[-| ]+\|$)")
_MARKER = re.compile(r"^(#+ |- |\d+\. )")
# roles, links and math: a translation keeps each of them
ROLES = re.compile(r"\{[\w:]+\}`[^`]*`|\]\([^)]*\)|`[^`]+`|\$[^$]+\$")
_MARKED = re.compile(r"""_\(\s*"((?:[^"\\]|\\.)*)\"""")


def translated(page: str, translate: Translate) -> str:
    r"""Return a page with each of its messages translated.

    Parameters
    ----------
    page : str
        Source of a page, before its template is rendered.
    translate : callable
        Given a message on one line, returns its translation.

    Examples
    --------
    >>> print(translated("## A title\n\n% if x\nTwo\nlines.\n% endif\n- one\n- two", str.upper))
    ## A TITLE
    <BLANKLINE>
    % if x
    TWO LINES.
    % endif
    - ONE
    - TWO
    """

    def with_words(text: str) -> str:
        return translate(text) if re.search(r"[^\W\d_]", ROLES.sub("", text)) else text

    return "\n".join(_lines(page, with_words))


def messages_of_page(page: str) -> list[str]:
    """Return the messages of a page in their order, those that its code marks last."""
    messages: list[str] = []

    def collect(message: str) -> str:
        messages.append(message)
        return message

    translated(page, collect)
    return messages + messages_of_template(page)


def messages_of_template(template: str) -> list[str]:
    """Return the marked words of a Jinja template."""
    return [text.replace('\\"', '"') for text in _MARKED.findall(template)]


def book_messages(book: Path) -> list[str]:
    """Return every message of the book's pages and templates, each once."""
    messages = [message for page in sorted(book.glob("*.md")) for message in messages_of_page(page.read_text("utf-8"))]
    for file in (*sorted((book / "theme" / "templates").glob("*.j2")), book / "theme" / "nodes.py"):
        messages += messages_of_template(file.read_text("utf-8"))
    return list(dict.fromkeys(messages))


def _lines(page: str, translate: Translate) -> Iterator[str]:
    block: list[str] = []
    fence = ""  # what ends the code or math that we are in
    front = page.startswith("---\n")

    def finished() -> Iterator[str]:
        if block:
            first, rest = _split(block[0])
            yield first + translate(" ".join([rest, *(line.strip() for line in block[1:])]))
            block.clear()

    for number, line in enumerate(page.split("\n")):
        if fence:
            yield line
            if re.match(r"^```\s*$", line) if fence == "```" else re.search(r"\$\$(\s*\([\w-]+\))?$", line):
                fence = ""
        elif front and (number == 0 or line != "---"):
            entry = _FRONT.match(line)
            yield f'{entry[1]}: "{translate(entry[2])}"' if entry else line
        elif front:
            front = False
            yield line
        elif line.startswith(("```", "$$")):
            yield from finished()
            yield line
            mark = "```" if line.startswith("```") else "$$"
            if mark == "```" or not re.search(r"\$\$(\s*\([\w-]+\))?$", line[2:]):
                fence = mark
        elif opening := _OPENING.match(line):
            yield from finished()
            yield opening[1] + (" " + translate(opening[2].strip()) if opening[2] else "")
        elif not line.strip() or _ENGINE.match(line):
            yield from finished()
            yield line
        elif line.startswith("|"):
            yield from finished()
            cells = [cell.strip() for cell in re.split(r"(?<!\\)\|", line.strip().strip("|"))]
            yield "| " + " | ".join(translate(cell) if cell else "" for cell in cells) + " |"
        else:
            if block and _MARKER.match(line):
                yield from finished()
            block.append(line)
            if line.startswith("#"):
                yield from finished()
    yield from finished()


def _split(line: str) -> tuple[str, str]:
    """Return the marker of a heading or list item, and its text."""
    marker = _MARKER.match(line)
    return (marker[0], line[marker.end() :]) if marker else ("", line.strip())
