"""Answer a released question again, from the tables of its bundle and the study file alone."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from retrain_eval.common.errors import unknown
from retrain_eval.estimators.effects.effects import EffectTable
from retrain_eval.questions.answers import EFFECTS, Answer, Withheld
from retrain_eval.questions.catalogue import QUESTIONS
from retrain_eval.questions.protocol import Inquiry
from retrain_eval.questions.tables import Tables
from retrain_eval.release.bundle import Bundle
from retrain_eval.release.layout import effects_frame


def answer(bundle: Bundle | str | Path, question: str) -> pd.DataFrame:
    """Answer a released question again.

    Parameters
    ----------
    bundle : Bundle, str or Path
        A bundle, or its folder.
    question : str
        A question of its study file, such as ``"effect_over_time"``.

    Returns
    -------
    DataFrame
        The rows of ``effects.csv`` that the question publishes, as they follow from the tables and the options in
        ``study.toml``. Errors of comparisons between arms of matched sets are those without the sets, which stay at the
        agency. What the tables do not give has a ``note`` and no numbers.

    Raises
    ------
    InputError
        If the study does not ask this question.

    Examples
    --------
    ::

        rte.answer("my_study/release/2026", "for_whom")[["result", "level", "estimate"]]
    """
    opened = bundle if isinstance(bundle, Bundle) else Bundle.open(bundle)
    study = opened.study_file
    asked = dict(study.questions.asked())
    if question not in asked:
        raise unknown(f"question of the study {opened.name}", question, asked)
    options = asked[question]
    inquiry = Inquiry(study, options.design or next(iter(study.designs)), options)
    found = QUESTIONS[question].answer(Tables(dict(opened.tables())), inquiry)
    rows = []
    for item in found.items:
        if isinstance(item, Answer) and isinstance(item.result, EffectTable):
            rows.append(effects_frame(item.name, item.result))
        elif isinstance(item, Withheld) and item.table == EFFECTS:
            rows.append(pd.DataFrame([{"result": item.name, "note": f"withheld: {item.error.public}"}]))
    return pd.concat(rows, ignore_index=True) if rows else pd.DataFrame(columns=["result", "note"])
