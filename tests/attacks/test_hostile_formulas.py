"""Formulas as an attacker writes them: nothing is evaluated, and everything soon ends in an answer or a refusal."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import retrain_eval as rte
from retrain_eval.common.errors import InputError
from retrain_eval.common.formulas.matrix import model_matrix, model_spec
from retrain_eval.common.formulas.parser import FUNCTIONS, read_formula
from retrain_eval.sample.models.formula import parse_formula

PEOPLE = pd.DataFrame({"age": [1.0, 2.0, 3.0], "treat": [0, 1, 0], '":`': [0, 1, 1], "race": ["a", "b", "a"]})
SPELLS = pd.DataFrame(
    {"id": range(8), "arm": ["a", "b"] * 4, "t": [1, 2, 3, 4, 2, 3, 1, 4], "cause": [1, 1, 0, 1, 1, 0, 1, 1]}
)
_watched: list[str] = []
_watching = False


def _hook(event: str, arguments: tuple[object, ...]) -> None:
    if not _watching:
        return
    run = event in ("exec", "os.system", "os.exec", "os.posix_spawn", "subprocess.Popen", "import", "socket.connect")
    # a text that is compiled, as eval does; formulaic reads the intercept, "1", as a literal
    text = event == "compile" and arguments[0] not in ("1", b"1", None)
    if run or text or (event == "open" and "w" in str(arguments[1])):
        _watched.append(f"{event} {arguments!r:.200}")


sys.addaudithook(_hook)


@contextmanager
def nothing_run() -> Iterator[None]:
    """Fail if code is compiled from a text or run, a module imported or a file written."""
    global _watching
    _watched.clear()
    _watching = True
    try:
        yield
    finally:
        _watching = False
    assert not _watched


CARRIED_OUT = [
    """I("`" + str(__import__("os").system("echo > pwned")) + "`")""",
    """I(len("`" + str(__import__('os').system('echo > pwned')) + "`") + age)""",
    """exp("`" + __import__('os').system('echo > pwned') + "`")""",
    """{abs(("`" != __import__('os').system('echo > pwned')) + 0*("`" == 1))}""",
    "`__import__('os').system('echo > pwned')`",
    "I(`age`.__class__)",
    "I((lambda: age)())",
    "C(age, contr.treatment('x'))",
    "C(`age`)[T.1]",
    "exp(__builtins__)",
    "I(age if age else age)",
    "I([x for x in age])",
    "bs(age)",
    "I(age, age)",
    "`age` + `race",
    "age # comment",
    "age\n+ exec(race)",
    "I(f'{age}')",
    "I(0x10 + age)",
    "I(1_000 + age)",
    "I(age @ age)",
    "I(age := 1)",
    "I(not age)",
    "I(...)",
    "I(age; age)",
]


@pytest.mark.parametrize("term", CARRIED_OUT)
def test_refused_and_not_run(term: str) -> None:
    with nothing_run():
        try:
            read = parse_formula(f"treat ~ age + {term}")
        except InputError:
            return
    assert set(read.covariates) - set(PEOPLE)  # text in backticks is a column, and there is no such column


@pytest.mark.parametrize("term", CARRIED_OUT)
def test_refused_in_survival_models_and_in_matching(term: str) -> None:
    spells = rte.Spells(SPELLS, id="id", duration="t", cause="cause", event=["1"], by="arm")
    with pytest.raises(InputError):
        spells.cox(f"arm + {term}")
    with pytest.raises(InputError):
        spells.discrete_hazard(f"arm + {term}")
    with pytest.raises(InputError):
        rte.match(PEOPLE.assign(id=range(3)), f"treat ~ age + {term}", unit="id", method="nearest")


_PIECES = "age race treat ( ) + - * ** : ~ / // % < == != ` \" ' 0 1 2 1e5 . , { } [ ] | ^ \\ @ $ ; = é ٣ I( C( age)"
_pieces = st.sampled_from(
    [*FUNCTIONS, *_PIECES.split(), " ", "\n", "\x00", "__import__", '__import__("os").system("id")', "lambda", "eval"]
)
_texts = st.one_of(
    st.lists(_pieces, max_size=30).map("".join),
    st.lists(_pieces, max_size=30).map(lambda parts: "treat ~ age + " + "".join(parts)),
    st.text(max_size=60),
)


def _attempt(text: str) -> None:
    start = time.process_time()
    with nothing_run():
        try:
            read = read_formula(text)
            if all(name in PEOPLE for name in read.columns):
                model_matrix(read, PEOPLE, model_spec(read, PEOPLE))
        except InputError:
            pass
    assert time.process_time() - start < 2


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(_texts)
def test_fuzzed(text: str) -> None:
    _attempt(text)


@pytest.mark.slow
@settings(max_examples=10_000, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(_texts)
def test_ten_thousand_fuzzed(text: str) -> None:
    _attempt(text)
