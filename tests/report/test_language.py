"""The report in another language: nothing is forgotten, nothing is lost, and numbers read as its readers write them."""

from __future__ import annotations

import ast
import re
import string
from collections.abc import Iterator
from pathlib import Path

import pytest

import catalogues
from retrain_eval.common.errors import InputError
from retrain_eval.common.resources import resource
from retrain_eval.report.building import book
from retrain_eval.report.language.catalogue import LANGUAGES, _, speaking
from retrain_eval.report.language.messages import ROLES, messages_of_page, translated
from retrain_eval.report.page import Release
from retrain_eval.report.pages.effects.paths import say_average_effect
from retrain_eval.report.pages.index import headline_findings
from retrain_eval.report.words import Words, listed

OTHERS = [name for name in LANGUAGES if name != "en"]
# texts of two words that no reader meets: keys of results, columns, settings of a figure
KEYS = {
    "control before", "treated matched", "control matched", "matched controls", "equivalent to none", "std. error",
    "same employer since", "retained by the same employer", "job of unknown hours", "two-week interval",
    "not claimed",
    " std. error", " estimate", "trend of ",
}  # fmt: skip


def test_there_is_another_language() -> None:
    assert "zh" in OTHERS
    with pytest.raises(InputError, match="unknown language 'chinese'"), speaking("chinese"):
        pass


@pytest.mark.parametrize("language", OTHERS)
def test_every_message_has_a_translation(language: str) -> None:
    """Whoever adds a sentence finds it here until it is in the catalogue."""
    have = catalogues.translations(language)
    assert [message for message in catalogues.messages() if not have.get(message)] == []


@pytest.mark.parametrize("language", OTHERS)
def test_no_translation_is_of_a_sentence_that_is_gone(language: str) -> None:
    assert sorted(set(catalogues.translations(language)) - set(catalogues.messages())) == []


@pytest.mark.parametrize("language", OTHERS)
def test_a_translation_keeps_every_role_link_and_formula(language: str) -> None:
    changed = {
        message: text
        for message, text in catalogues.translations(language).items()
        if sorted(ROLES.findall(message)) != sorted(ROLES.findall(text))
    }
    assert changed == {}


@pytest.mark.parametrize("language", OTHERS)
def test_a_translation_asks_for_no_value_that_is_not_given(language: str) -> None:
    for message, text in catalogues.translations(language).items():
        if "{eval}" in message or "{cite" in message or "$" in message:
            continue
        given = {name: spec for _text, name, spec, _conversion in string.Formatter().parse(message) if name}
        asked = {name: spec for _text, name, spec, _conversion in string.Formatter().parse(text) if name}
        assert asked.items() <= given.items(), message


def unmarked(tree: ast.Module) -> Iterator[ast.expr]:
    """Yield texts of several words that are not marked as messages."""
    quiet: set[int] = set()
    for node in ast.walk(tree):
        name = ""
        if isinstance(node, ast.Call):
            name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
        if name in {"_", "N_", "ngettext"} or name in {
            "query",
            "replace",
            "partition",
            "split",
            "removeprefix",
            "compile",
            "sub",
            "str",
        }:
            quiet |= {id(item) for argument in node.args for item in ast.walk(argument)}
        if isinstance(node, ast.Raise | ast.Assert | ast.Compare):
            quiet |= {id(item) for item in ast.walk(node)}
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and ast.get_docstring(node) is not None:
            quiet.add(id(node.body[0].value))
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            quiet.add(id(node.value))
        if isinstance(node, ast.JoinedStr):
            quiet |= {id(item) for item in node.values}
    for node in ast.walk(tree):
        if id(node) in quiet or not isinstance(node, ast.JoinedStr | ast.Constant):
            continue
        parts = node.values if isinstance(node, ast.JoinedStr) else [node]
        text = "".join(str(p.value) if isinstance(p, ast.Constant) else " " for p in parts)
        if text in KEYS or text.strip() in KEYS or (isinstance(node, ast.Constant) and not isinstance(node.value, str)):
            continue
        if re.search(r"<|=\"|--|/|'Segoe", text):  # HTML, settings, paths
            continue
        if re.search(r"[A-Za-z]{2,}[,.:;]? [a-z]{2,}", text) or re.search(r"[a-z]{3,} $|^ [a-z]{3,}", text):
            yield node


def test_no_sentence_of_the_code_is_left_unmarked() -> None:
    # they say nothing to readers of the report
    silent = {"book", "pdf", "process_group", "messages", "catalogue", "drawing", "shown"}
    found = [
        f"{file.name}:{node.lineno} {ast.unparse(node)}"
        for file in sorted(catalogues.REPORT.rglob("*.py"))
        if file.stem not in silent
        for node in unmarked(ast.parse(file.read_text(encoding="utf-8")))
    ]
    assert found == []


def test_no_sentence_of_a_page_s_code_is_left_unmarked() -> None:
    found = []
    cells = re.compile(r"^```\{code-cell\} python\n(.*?)^```", re.MULTILINE | re.DOTALL)
    for file in sorted(resource("book").glob("*.md")):
        for cell in cells.findall(file.read_text("utf-8")):
            code = "\n".join(line for line in cell.splitlines() if not line.startswith((":", "%")))
            tree = ast.parse(re.sub(r"<<.*?>>", "x", code))
            found += [f"{file.name} {ast.unparse(node)}" for node in unmarked(tree)]
    assert found == []


def test_a_page_without_translations_is_the_page() -> None:
    for file in resource("book").glob("*.md"):
        page = file.read_text(encoding="utf-8")
        again = translated(page, lambda message: message)
        assert " ".join(again.split()) == " ".join(page.split()), file.name


def test_what_a_reader_does_not_read_is_no_message() -> None:
    page = '---\ntitle: "T"\nkernelspec: {name: python3}\n---\n\n(label)=\n## Head\n\n'
    page += ":::{figure}\n:label: fig-x\n```{code-cell}\n"
    page += (
        "code = 1\n```\n\nCaption\nof two lines.\n:::\n\n$$ x^2 $$ (eq)\n\n% if x\n- {eval}`only`\n- item\n% endif\n"
    )
    page += "| a | b |\n|---|---|\n| c | {eval}`d` |\n"
    assert messages_of_page(page) == ["T", "Head", "Caption of two lines.", "item", "a", "b", "c"]


def test_the_words_of_a_chinese_report() -> None:
    with speaking("zh"):
        words = Words(unit="person", period="quarter", currency="USD")
        assert words.amount(-8497.5) == "−$8,498"
        assert words.interval(377.2, 3036) == "$377 至 $3,036"
        assert words.count(185) == "185 人"
        assert words.time(8076) == "2019 年第 1 季度"
        assert words.at(-8) == "培训前 8 季度"
        assert listed(["年龄", "教育", "性别"]) == "年龄、教育和性别"
    assert _("Estimate") == "Estimate"


def test_findings_and_pages_are_said_in_chinese(release: Release, tmp_path: Path) -> None:
    with speaking("zh"):
        first = headline_findings(release.main.bundle)[0]
        assert first.question == "有效吗？"
        assert "$1,707" in first.statement
        assert "区间不含零" in first.statement
        assert "95% 区间" in say_average_effect(release.main)
        book.prepare(release, resource("book"), tmp_path / "zh")
    index = (tmp_path / "zh" / "index.md").read_text(encoding="utf-8")
    assert 'title: "主要发现"' in index
    assert "这些发现的依据" in index
    assert '"language": "zh-Hans"' in (tmp_path / "zh" / "edition.json").read_text(encoding="utf-8")
    assert "研究对象" in (tmp_path / "zh" / "edition.yml").read_text(encoding="utf-8")
    with speaking("en"):
        book.prepare(release, resource("book"), tmp_path / "en")
    assert 'title: "Findings"' in (tmp_path / "en" / "index.md").read_text(encoding="utf-8")
