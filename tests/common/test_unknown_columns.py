"""All columns that are missing are named in one attempt, with the parameter where no one typed them."""

from __future__ import annotations

import duckdb
import pandas as pd
import pytest

import retrain_eval as rte
from retrain_eval.common.errors import InputError
from retrain_eval.common.sources import as_relation, require_columns
from retrain_eval.estimators.rows.first_jobs import first_job_spells
from retrain_eval.estimators.rows.follow_up import employment_after
from retrain_eval.records.linkage.exact import link_exactly


def test_a_default_that_no_one_typed_is_named_with_its_parameter() -> None:
    rows = pd.DataFrame({"id": [1, 2], "quarters": [1, 2], "cause": ["job", None]})
    with pytest.raises(InputError, match=r"unknown column 'quarters'(.|\n)*'quarters' is the default of duration="):
        rte.Spells(rows.rename(columns={"quarters": "weeks"}), id="id")
    with pytest.raises(InputError) as caught:
        rte.Spells(rows.rename(columns={"quarters": "weeks", "cause": "why"}), id="person")
    for told in ("'person', 'quarters', 'cause'", "'quarters' is the default of duration="):
        assert told in str(caught.value)
    assert "'person' is the default" not in str(caught.value)


def test_defaults_of_other_functions_are_named_too() -> None:
    panel = pd.DataFrame({"who": [1], "employed": [1.0], "main_employer": ["X"]})
    for call in (first_job_spells, employment_after):
        with pytest.raises(InputError) as caught:
            call(panel)
        assert "'person_id' is the default of id=" in str(caught.value)
        assert "'to_exit' is the default of since=" in str(caught.value)
    con = duckdb.connect()
    con.execute("CREATE TABLE a AS SELECT 1 AS who, 'x' AS tax; CREATE TABLE b AS SELECT 1 AS record_id, 'x' AS tax")
    with pytest.raises(InputError, match=r"'person_id' is the default of person="):
        link_exactly(con, "a", "b", {"tax": {"tax": "exact"}})


def test_all_missing_columns_are_named_at_once() -> None:
    relation = as_relation(pd.DataFrame({"wages": [1], "age": [2]}))
    with pytest.raises(InputError, match=r"unknown columns 'wage', 'agee', 'z'"):
        require_columns(relation, ["wage", "age", "agee", "z"])
    people = pd.DataFrame({"id": [1, 2], "treat": [1, 0], "age": [30, 31]})
    with pytest.raises(InputError, match=r"unknown columns 'person', 'sex', 'school'"):
        rte.match(people, "treat ~ age + sex + school", unit="person")
    with pytest.raises(InputError, match=r"unknown columns 'g', 'wages'"):
        rte.outcome_moments(people, unit="id", time="age", cohort="g", outcome="wages")
