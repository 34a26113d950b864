"""From a parsed MyST page to HTML, refusing whatever a reader could not trust.

A page with a failed cell, an expression that was not evaluated, an image without a text alternative, math
that was not typeset, a reference without a target or a node this theme does not know stops the build.
"""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from html import escape
from typing import Any

Node = dict[str, Any]

PLAIN = {  # node type → element that wraps its children
    "paragraph": "p",
    "strong": "strong",
    "emphasis": "em",
    "blockquote": "blockquote",
    "listItem": "li",
    "definitionList": "dl",
    "definitionTerm": "dt",
    "definitionDescription": "dd",
    "subscript": "sub",
    "superscript": "sup",
    "span": "span",
    "abbreviation": "abbr",
}
SILENT = {"comment", "mystTarget"}
NARROW = "application/vnd.retrain-eval.narrow+json"


class ThemeError(Exception):
    """The page cannot be published as it is."""


@dataclass
class Page:
    """Renders one page, and collects what belongs beside it.

    Attributes
    ----------
    slug : str
        Name of the page.
    fetch : callable
        Returns the text of an output that the engine moved to a file of its own.
    messages : dict of str
        Words of the theme in the report's language.
    files : dict of str
        Path inside the report → content: drawings and data of the page's figures and tables.
    headings : list of (id, text)
        Second-level headings, for the navigation.
    footnotes : list of str
        Rendered footnotes, in order.
    """

    slug: str
    fetch: Callable[[str], str]
    messages: dict[str, str] = field(default_factory=dict)
    files: dict[str, str] = field(default_factory=dict)
    headings: list[tuple[str, str]] = field(default_factory=list)
    footnotes: list[str] = field(default_factory=list)

    def _(self, message: str) -> str:
        """Return a message in the report's language."""
        return self.messages.get(message, message)

    def render(self, node: Node) -> str:
        """Return the HTML of a node."""
        kind = node["type"]
        if kind in SILENT:
            return ""
        if kind in PLAIN:
            return f"<{PLAIN[kind]}>{self.inside(node)}</{PLAIN[kind]}>"
        method = getattr(self, f"_{kind}", None)
        if method is None:
            raise self.error(f"node type {kind!r} is not known to the theme")
        return str(method(node))

    def inside(self, node: Node) -> str:
        """Return the HTML of a node's children."""
        return "".join(self.render(child) for child in node.get("children", []))

    def error(self, message: str) -> ThemeError:
        """Return the error for this page."""
        return ThemeError(f"{self.slug}: {message}")

    # --- text

    def _root(self, node: Node) -> str:
        return self.inside(node)

    def _text(self, node: Node) -> str:
        return escape(node["value"], quote=False)

    def _inlineCode(self, node: Node) -> str:
        return f"<code>{escape(node['value'])}</code>"

    def _break(self, node: Node) -> str:
        return "<br>"

    def _thematicBreak(self, node: Node) -> str:
        return "<hr>"

    def _list(self, node: Node) -> str:
        tag = "ol" if node.get("ordered") else "ul"
        return f"<{tag}>{self.inside(node)}</{tag}>"

    def _heading(self, node: Node) -> str:
        text = self.inside(node)
        level = max(2, int(node["depth"]))
        label = node.get("html_id") or node.get("identifier") or re.sub(r"\W+", "-", plain(text).lower()).strip("-")
        if level == 2:
            self.headings.append((label, plain(text)))
        return f'<h{level} id="{escape(label)}">{text}</h{level}>'

    def _div(self, node: Node) -> str:
        name = node.get("class")
        return f'<div class="{escape(name)}">{self.inside(node)}</div>' if name else f"<div>{self.inside(node)}</div>"

    def _admonition(self, node: Node) -> str:
        return f'<aside class="note {escape(node.get("kind", "note"))}">{self.inside(node)}</aside>'

    def _admonitionTitle(self, node: Node) -> str:
        return f'<p class="note-title">{self.inside(node)}</p>'

    def _code(self, node: Node) -> str:
        if node.get("executable") and node.get("visibility") == "remove":
            return ""
        return f'<pre tabindex="0"><code>{escape(node["value"])}</code></pre>'

    def _inlineExpression(self, node: Node) -> str:
        result = node.get("result") or {}
        if result.get("status") != "ok":
            raise self.error(f"{{eval}}`{node['value']}` was not evaluated")
        text = result["data"]["text/plain"]
        # a string comes as Python prints it, with its quotes and escapes
        value = ast.literal_eval(text) if text[:1] in "'\"" else text
        return escape(str(value), quote=False)

    # --- references

    def _link(self, node: Node) -> str:
        url = self.href(node["url"]) if node.get("internal") else node["url"]
        return f'<a href="{escape(url)}">{self.inside(node)}</a>'

    def numbered(self, text: str) -> str:
        """Return "Figure 2" in the report's language; the engine numbers in English."""
        names = {"Figure": self._("Figure"), "Table": self._("Table")}
        return re.sub(r"\b(Figure|Table)(?=\s*\d)", lambda found: names[found[1]], text)

    def _crossReference(self, node: Node) -> str:
        if not node.get("resolved"):
            raise self.error(f"reference to {node.get('identifier')!r} has no target")
        page = self.href(node["url"]) if node.get("url") else ""
        return f'<a href="{escape(page)}#{escape(node["html_id"])}">{self.numbered(self.inside(node))}</a>'

    def _citeGroup(self, node: Node) -> str:
        cites = [self.render(child) for child in node["children"]]
        return "(" + "; ".join(cites) + ")" if node.get("kind") == "parenthetical" else "; ".join(cites)

    def _cite(self, node: Node) -> str:
        if node.get("error") or not node.get("children"):
            raise self.error(f"citation {node.get('label')!r} is not in the bibliography")
        return f'<a href="#ref-{escape(node["label"])}">{self.inside(node)}</a>'

    def _footnoteReference(self, node: Node) -> str:
        n = escape(str(node["enumerator"]))
        return f'<sup><a id="fnref-{n}" href="#fn-{n}" aria-label="{self._("Footnote")} {n}">{n}</a></sup>'

    def _footnoteDefinition(self, node: Node) -> str:
        n = escape(str(node["enumerator"]))
        self.footnotes.append(f'<li id="fn-{n}" value="{n}">{self.inside(node)}</li>')
        return ""

    @staticmethod
    def href(url: str) -> str:
        """Return the file of an internal address, so that links work without a server."""
        path, _, anchor = url.partition("#")
        name = path.strip("/") or "index"
        return f"{name}.html" + (f"#{anchor}" if anchor else "")

    # --- math

    def _inlineMath(self, node: Node) -> str:
        return self._mathml(node)

    def _math(self, node: Node) -> str:
        label = node.get("html_id")
        number = f'<span class="equation-number">({node["enumerator"]})</span>' if node.get("enumerator") else ""
        name = f' id="{escape(label)}"' if label else ""
        math = self._mathml(node)
        group = f'role="group" aria-label="{self._("Equation")}"'
        return f'<div class="equation"{name} tabindex="0" {group}>{math}{number}</div>'

    def _mathml(self, node: Node) -> str:
        found = re.search(r"<math\b.*?</math>", node.get("html", ""), flags=re.DOTALL)
        if found is None or "<merror" in found[0] or "katex-error" in node["html"]:
            raise self.error(f"math was not rendered: {node['value']}")
        return re.sub(r"<annotation\b.*?</annotation>", "", found[0], flags=re.DOTALL)

    # --- tables written by hand

    def _table(self, node: Node) -> str:
        rows = node["children"]
        heads = [row for row in rows if all(cell.get("header") for cell in row["children"])]
        body = "".join(self.render(row) for row in rows if row not in heads)
        head = "".join(map(self.render, heads))
        return scrolling(f"<table><thead>{head}</thead><tbody>{body}</tbody></table>")

    def _tableRow(self, node: Node) -> str:
        return f"<tr>{self.inside(node)}</tr>"

    def _tableCell(self, node: Node) -> str:
        tag = "th" if node.get("header") else "td"
        return f"<{tag}>{self.inside(node)}</{tag}>"

    # --- figures, tables and whatever else cells show

    def _block(self, node: Node) -> str:
        return "" if node.get("visibility") == "remove" else self.inside(node)

    def _container(self, node: Node) -> str:
        label = node.get("html_id")
        if not label:
            raise self.error(f"a {node.get('kind')} has no label")
        captions = [child for child in node["children"] if child["type"] == "caption"]
        bodies = [child for child in node["children"] if child["type"] != "caption"]
        if not captions:
            raise self.error(f"{label} has no caption")
        outputs = [output for body in bodies for output in find(body, "output")]
        rest = [body for body in bodies if not find(body, "output") and body["type"] != "block"]
        shown = "".join(self.shown(output, label) for output in outputs) + "".join(map(self.render, rest))
        data = self._download(label, node.get("kind") or "figure")
        caption = f'<figcaption id="{label}-caption">{"".join(map(self.inside, captions))}</figcaption>'
        if node.get("kind") == "table":
            return f'<figure class="table" id="{label}">{caption}{shown}{data}</figure>'
        return f'<figure id="{label}">{shown}{caption}{data}</figure>'

    def _captionNumber(self, node: Node) -> str:
        return f'<span class="caption-number">{self.numbered(self.inside(node))}</span> '

    def _image(self, node: Node) -> str:
        raise self.error(f"image {node.get('urlSource', node.get('url'))!r}: draw figures in a cell, from the release")

    def _outputs(self, node: Node) -> str:
        return "" if node.get("visibility") == "remove" else self.inside(node)

    def _output(self, node: Node) -> str:
        return self.shown(node, node.get("html_id") or "")

    def shown(self, node: Node, label: str) -> str:
        """Return the HTML of one output of a cell; its drawings and data become files named after ``label``."""
        output = node["jupyter_data"]
        kind = output["output_type"]
        if kind == "error":
            raise self.error(f"a cell failed: {output.get('ename')}: {output.get('evalue')}")
        if kind == "stream":
            if output.get("name") == "stderr":
                raise self.error(f"a cell warns: {str(output.get('text'))[:200]}")
            return f'<pre tabindex="0">{escape(output["text"])}</pre>'
        data = {mime: self._content(item) for mime, item in output["data"].items()}
        if "image/svg+xml" in data:
            shown = self._drawing(data, output.get("metadata", {}), label)
        elif "text/html" in data:
            shown = self._html(data["text/html"], label)
        elif any(mime.startswith("image/") for mime in data):
            raise self.error(f"{label or 'a cell'}: figures must be SVG")
        else:
            return f'<pre tabindex="0">{escape(data.get("text/plain", ""))}</pre>'
        if "text/csv" in data and label:
            self.files[f"data/{label}.csv"] = data["text/csv"]
        return shown

    def _download(self, label: str, kind: str) -> str:
        name = f"data/{label}.csv"
        if name not in self.files:
            return ""
        text = self._("Data of this table (CSV)") if kind == "table" else self._("Data of this figure (CSV)")
        return f'<p class="download"><a href="{name}" download>{text}</a></p>'

    def _content(self, item: Node) -> Any:
        return item["content"] if "content" in item else self.fetch(item["path"])

    def _drawing(self, data: Node, metadata: Node, label: str) -> str:
        alt = (metadata.get("image/svg+xml") or metadata).get("alt", "").strip()
        if not alt:
            raise self.error(f"figure {label or '(without label)'} has no alt text")
        if not label:
            raise self.error(f"a figure needs a label and a caption: {alt[:80]}")
        self.files[f"figures/{label}.svg"] = data["image/svg+xml"]
        source = ""
        if NARROW in data:
            narrow = data[NARROW] if isinstance(data[NARROW], dict) else json.loads(data[NARROW])
            self.files[f"figures/{label}-narrow.svg"] = narrow["svg"]
            source = f'<source media="(max-width: 560px)" srcset="figures/{label}-narrow.svg">'
        return f'<picture>{source}<img src="figures/{label}.svg" alt="{escape(alt)}"></picture>'

    def _html(self, html: str, label: str) -> str:
        for image in re.findall(r"<img\b[^>]*>", html):
            if not re.search(r'\balt="[^"]+"', image):
                raise self.error(f"an image in {label or 'a cell'} has no alt text")
        if "<table" not in html:
            return html
        if label:  # the cells of every table have the same names
            html = re.sub(r'(?<![\w-])(id|headers)="([^"]*)"', lambda m: f'{m[1]}="{named(m[2], label)}"', html)
        return scrolling(html, f"{label}-caption" if label else "")


def scrolling(table: str, caption: str = "") -> str:
    """Wrap a table so that it scrolls inside the page, by keyboard too."""
    name = f'aria-labelledby="{caption}"' if caption else 'aria-label="Table"'
    return f'<div class="scroll" role="region" tabindex="0" {name}>{table}</div>'


def named(names: str, place: str, mark: str = "-") -> str:
    """Return identifiers, separated by spaces, as names of one place.

    Examples
    --------
    >>> named("stub_1 estimate", "tbl-flow")
    'tbl-flow-stub_1 tbl-flow-estimate'
    """
    return " ".join(f"{place}{mark}{name}" for name in names.split())


def find(node: Node, kind: str) -> list[Node]:
    """Return the nodes of a type under ``node``, itself included."""
    own = [node] if node["type"] == kind else []
    return own + [found for child in node.get("children", []) for found in find(child, kind)]


def plain(html: str) -> str:
    """Return the text of a piece of HTML."""
    return re.sub(r"<[^>]+>", "", html)
