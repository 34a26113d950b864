"""The theme on small parsed pages: what it renders, and what it refuses."""

from __future__ import annotations

import importlib.util
import sys
from types import ModuleType
from typing import Any

import pytest

from retrain_eval.common.resources import resource


def load(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, resource("book") / "theme" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    sys.dont_write_bytecode = True  # the folder ships in the wheel as it is
    spec.loader.exec_module(module)
    return module


nodes, onefile, render = load("nodes"), load("onefile"), load("render")


def text(value: str) -> dict[str, Any]:
    return {"type": "text", "value": value}


def node(kind: str, /, *children: dict[str, Any], **keys: Any) -> dict[str, Any]:
    return {"type": kind, "children": list(children), **keys}


def output(data: dict[str, Any], metadata: dict[str, Any] | None = None, kind: str = "display_data") -> dict[str, Any]:
    packed = {mime: {"content": content} for mime, content in data.items()}
    return node("output", jupyter_data={"output_type": kind, "data": packed, "metadata": metadata or {}})


def page() -> Any:
    return nodes.Page("demo", lambda path: f"<svg>{path}</svg>")


def figure(shown: dict[str, Any], kind: str = "figure", label: str | None = "fig-a") -> dict[str, Any]:
    caption = node("caption", node("paragraph", text("What it shows.")))
    return node("container", node("outputs", shown), caption, kind=kind, html_id=label)


ALT = {"image/svg+xml": {"alt": "Rises from 1 to 2."}}


def test_text_is_escaped() -> None:
    assert page().render(node("paragraph", text("a < b & c"))) == "<p>a &lt; b &amp; c</p>"


def test_strings_of_expressions_come_without_quotes_and_escapes() -> None:
    result = {"status": "ok", "data": {"text/plain": '"it\'s\\xa0<5"'}}
    shown = page().render({"type": "inlineExpression", "value": "x", "result": result})
    assert shown == "it's\xa0&lt;5"


def test_a_figure_has_alt_text_files_for_screen_and_phone_and_its_data() -> None:
    demo = page()
    narrow = {"application/vnd.retrain-eval.narrow+json": {"svg": "<svg>n</svg>"}}
    html = demo.render(figure(output({"image/svg+xml": "<svg>w</svg>", **narrow, "text/csv": "a\n1\n"}, ALT)))
    assert 'alt="Rises from 1 to 2."' in html
    assert 'srcset="figures/fig-a-narrow.svg"' in html
    assert html.index("<picture") < html.index("<figcaption") < html.index('href="data/fig-a.csv"')
    assert demo.files == {
        "figures/fig-a.svg": "<svg>w</svg>",
        "figures/fig-a-narrow.svg": "<svg>n</svg>",
        "data/fig-a.csv": "a\n1\n",
    }


def test_outputs_moved_to_a_file_are_fetched() -> None:
    demo = page()
    shown = output({}, ALT)
    shown["jupyter_data"]["data"] = {"image/svg+xml": {"path": "/abc.svg", "hash": "abc"}}
    demo.render(figure(shown))
    assert demo.files["figures/fig-a.svg"] == "<svg>/abc.svg</svg>"


def test_a_table_scrolls_by_keyboard_and_is_named_by_its_caption() -> None:
    html = page().render(figure(output({"text/html": "<table></table>"}), kind="table", label="tbl-a"))
    assert '<div class="scroll" role="region" tabindex="0" aria-labelledby="tbl-a-caption">' in html
    assert html.index("<figcaption") < html.index("<table")


def test_math_becomes_mathml_alone() -> None:
    html = '<span class="katex"><math><mi>x</mi><annotation encoding="tex">x</annotation></math><span>x</span></span>'
    assert page().render({"type": "inlineMath", "value": "x", "html": html}) == "<math><mi>x</mi></math>"


def test_links_work_from_a_folder() -> None:
    assert nodes.Page.href("/") == "index.html"
    assert nodes.Page.href("/methods") == "methods.html"
    assert nodes.Page.href("/methods#ledger") == "methods.html#ledger"


def test_removed_cells_leave_nothing() -> None:
    code = {"type": "code", "value": "secret", "executable": True, "visibility": "show"}
    block = node("block", code, node("outputs", output({"text/plain": "secret"})), visibility="remove")
    assert page().render(block) == ""


@pytest.mark.parametrize(
    ("broken", "says"),
    [
        (figure(output({"image/svg+xml": "<svg/>"})), "no alt text"),
        (figure(output({"image/svg+xml": "<svg/>"}, {"image/svg+xml": {"alt": "  "}})), "no alt text"),
        (figure(output({"image/png": "iVBOR"}, {"image/png": {"alt": "x"}})), "must be SVG"),
        (figure(output({"image/svg+xml": "<svg/>"}, ALT), label=None), "has no label"),
        (node("outputs", output({"image/svg+xml": "<svg/>"}, ALT)), "needs a label"),
        (node("outputs", output({"text/html": "<img src='x.svg'>"})), "no alt text"),
        ({"type": "image", "url": "x.png", "alt": "x"}, "draw figures in a cell"),
        ({"type": "inlineExpression", "value": "1/0", "result": {"status": "error"}}, "was not evaluated"),
        ({"type": "inlineExpression", "value": "n"}, "was not evaluated"),
        ({"type": "inlineMath", "value": r"\x", "html": '<b class="katex-error">x</b>'}, "math was not rendered"),
        ({"type": "math", "value": "x"}, "math was not rendered"),
        ({"type": "crossReference", "identifier": "nowhere", "children": []}, "has no target"),
        ({"type": "cite", "label": "nobody2020", "error": "not found", "children": []}, "not in the bibliography"),
        ({"type": "mermaid", "value": "graph"}, "not known to the theme"),
        (
            node("output", jupyter_data={"output_type": "error", "ename": "KeyError", "evalue": "'x'"}),
            "a cell failed: KeyError",
        ),
        (node("output", jupyter_data={"output_type": "stream", "name": "stderr", "text": "Warning!"}), "a cell warns"),
    ],
)  # fmt: skip
def test_what_a_reader_could_not_trust_is_refused(broken: dict[str, Any], says: str) -> None:
    with pytest.raises(nodes.ThemeError, match=says):
        page().render(broken)


@pytest.mark.parametrize(
    "html",
    [
        '<img src="https://example.org/x.png" alt="x">',
        "<img src=//example.org/x.png>",
        "<script>1</script>",
        "<p style=\"background: url('http://example.org/x')\">",
        '<source srcset="https://example.org/x.svg">',
    ],
)
def test_a_page_that_reaches_out_is_refused(html: str) -> None:
    with pytest.raises(nodes.ThemeError, match="from outside"):
        render.checked(html, "demo")


def test_a_link_for_the_reader_to_follow_is_no_request() -> None:
    html = '<a href="https://doi.org/10.1/x">10.1/x</a><img src="figures/a.svg" alt="a">'
    assert render.checked(html, "demo") == html


def test_one_page_keeps_names_apart_and_links_within() -> None:
    body = (
        '<h2 id="a">A</h2><td headers="x y" id="z">1</td><div aria-labelledby="t-caption"></div>'
        '<a href="#a">a</a><a href="methods.html#b">b</a><a href="methods.html">m</a>'
        '<a href="#ref-roth2022">r</a><a href="data/a.csv">c</a><a href="https://x.org/p.html">x</a>'
    )
    assert onefile.section("effects", body) == (
        '<h3 id="effects--a">A</h3><td headers="effects--x effects--y" id="effects--z">1</td>'
        '<div aria-labelledby="effects--t-caption"></div>'
        '<a href="#effects--a">a</a><a href="#methods--b">b</a><a href="#methods">m</a>'
        '<a href="#ref-roth2022">r</a><a href="data/a.csv">c</a><a href="https://x.org/p.html">x</a>'
    )
