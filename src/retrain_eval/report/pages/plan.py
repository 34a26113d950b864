"""The page on the registered plan: when it was made, what departed from it, and what it does not name."""

from __future__ import annotations

import pandas as pd

from retrain_eval.report.language.catalogue import _, ngettext
from retrain_eval.report.page import Study
from retrain_eval.report.tables import Table


def say_standing(study: Study) -> str:
    """Say whether a plan binds these results, and what that means for reading them."""
    registrations, plan = study.bundle.plan, study.registration
    if not registrations:
        return _(
            "No plan was registered for this study before its outcomes were opened. Every result is "
            "exploratory: it may have been looked for until it was found."
        )
    if plan is None:
        return _(
            "A plan was registered on {time}, after the outcomes had been opened. It binds nothing, "
            "and every result is exploratory: it may have been looked for until it was found.",
            time=registrations[0].time,
        )
    text = _("The plan was registered on {time}, before the outcomes were opened.", time=plan.time)
    number = len(study.deviations)
    if number == 0:
        text += _(" The study was carried out as planned.")
    else:
        text += ngettext(
            " The study departs from it in one place.",
            " The study departs from it in {number} places.",
            number,
            number=number,
        )
    if study.exploratory:
        text += _(" Results on outcomes or groups that it does not name are marked as exploratory.")
    return text


def say_opened_before(study: Study) -> str:
    """Say that earlier outcomes were known when the plan was made; nothing where they were not."""
    plan = study.registration
    number = 0 if plan is None else study.plan_standing[plan.sha256][1]
    if number == 0:
        return ""
    return _(
        "When it was registered, a run had read {number} of the {inputs} record files behind this "
        "edition; the outcomes in the others were closed.",
        number=number,
        inputs=len(study.bundle.manifest["inputs"]),
    )


def tabulate_registrations(study: Study) -> Table:
    """Tabulate the registrations with what each amends."""
    registrations = study.bundle.plan
    rows = pd.DataFrame(
        {
            "time": [one.time for one in registrations],
            "outcomes": [_("closed") if study.plan_standing[one.sha256][0] else _("opened") for one in registrations],
            "reason": [one.reason or (_("the first plan") if not one.amends else "") for one in registrations],
            "version": [one.version for one in registrations],
            "sha256": [one.sha256 for one in registrations],
        }
    )
    labels = {
        "time": _("Registered"),
        "sha256": _("SHA-256 of the plan"),
        "version": _("Version"),
        "outcomes": _("Outcomes then"),
        "reason": _("Reason"),
    }
    return Table(rows, rows, labels=labels, left=["outcomes", "reason", "version", "sha256"], code=["sha256"])


def tabulate_deviations(study: Study) -> Table:
    """Tabulate each field of the study file that differs from the plan."""
    rows = study.deviations
    cells = rows.assign(
        planned=rows["planned"].replace("", "—"),
        used=rows["used"].replace("", "—"),
    )
    labels = {"field": _("Field"), "planned": _("Planned"), "used": _("Used")}
    return Table(cells, rows, labels=labels, left=["planned", "used"], code=["field"])


def tabulate_exploratory(study: Study) -> Table:
    """Tabulate the results that the plan does not name."""
    effects, words = study.effects, study.words
    rows = effects[effects["result"].isin(study.exploratory)].drop_duplicates(["result", "outcome", "subgroup"])
    rows = rows[["result", "outcome", "subgroup"]].reset_index(drop=True)
    cells = rows.assign(
        outcome=rows["outcome"].map(words.name),
        subgroup=[words.name(name) if name else "—" for name in rows["subgroup"]],
    )
    labels = {"result": _("Result"), "outcome": _("Outcome"), "subgroup": _("Groups")}
    return Table(cells, rows, labels=labels, left=["outcome", "subgroup"], code=["result"])
