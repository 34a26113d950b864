"""What a command prints while it works: lines where no one looks, a bar at a terminal, nothing for a machine."""

from __future__ import annotations

import io
import time

from rich.console import Console

from retrain_eval.study.progress import Steps


def printed(*, terminal: bool = False, quiet: bool = False, wait: float = 0.0, silence: float = 10.0) -> str:
    out = io.StringIO()
    console = Console(file=out, force_terminal=terminal, width=100)
    with Steps("Loading my [study]", console, quiet=quiet, silence=silence) as say:
        say("person: 2 rows")
        say.watch("checking the 5,000,000 rows of w.csv", 0.4)
        time.sleep(wait)
    return out.getvalue()


def test_lines_are_printed_where_there_is_no_terminal() -> None:
    text = printed()
    assert text.startswith("Loading my [study]\n")
    assert "person: 2 rows" in text
    assert "5,000,000" not in text  # all went quickly


def test_a_long_silence_is_broken_by_what_is_under_way() -> None:
    text = printed(wait=0.7, silence=0.2)
    assert text.count("checking the 5,000,000 rows of w.csv") >= 2


def test_a_terminal_has_a_bar() -> None:
    text = printed(terminal=True, wait=0.3)
    assert "checking the 5,000,000 rows of w.csv" in text
    assert "━" in text


def test_a_machine_is_told_nothing() -> None:
    assert printed(quiet=True, wait=0.3, silence=0.1) == ""
