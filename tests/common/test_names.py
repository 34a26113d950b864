"""Names of editions and studies: plain on every system, wherever they come from."""

from __future__ import annotations

from pathlib import Path

import pytest

from retrain_eval.common.errors import InputError
from retrain_eval.common.text.file_names import LONGEST, check_plain_name, is_plain_name
from retrain_eval.plan.study_file import read_study


@pytest.mark.parametrize("name", ["2026", "2026-1", "2026.1", "Q1_2026", "a", "x" * LONGEST, "nullify", "com10"])
def test_a_plain_name_is_taken(name: str) -> None:
    assert check_plain_name(name, "an edition") == name


@pytest.mark.parametrize(
    "name",
    ["", ".", "..", ".ssh", "../up", "a/b", "a\\b", "/etc", "2026 ", " 2026", "20 26", "2026\n", "a\0b", "2026.", "-x",
     "_x", "été", "２０２６", "nul", "NUL", "con.txt", "lpt1", "COM9.tar.gz", "C:", "x:y", "x" * (LONGEST + 1),
     "~", "*"],
)  # fmt: skip
def test_any_other_is_refused_and_the_rule_is_said(name: str) -> None:
    assert not is_plain_name(name)
    with pytest.raises(InputError, match="cannot name an edition") as found:
        check_plain_name(name, "an edition")
    assert "A-Z a-z 0-9" in str(found.value)


@pytest.mark.parametrize("other", [None, 2026, ["2026"], {"2026": 1}, True])
def test_what_is_no_text_is_no_name(other: object) -> None:
    assert not is_plain_name(other)


@pytest.mark.parametrize("name", ["nul", "a" * 65, "nsw\\n"])
def test_a_study_has_a_plain_name_too(tmp_path: Path, name: str) -> None:
    text = f'[study]\nname = "{name}"\ntitle = "T"\nquestion = "Q"\ndata = "D"\n[records]\nperson = "p.csv"\n'
    (tmp_path / "study.toml").write_text(text, encoding="utf-8")
    with pytest.raises(InputError, match="name is not a valid folder name"):
        read_study(tmp_path)
