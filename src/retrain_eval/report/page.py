"""What a page of the book can see: the release it reports on and its companions, never the store.

A page begins with ``release = open_release()`` and takes everything from there.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import msgspec
import pandas as pd

from retrain_eval.common.errors import ReportError
from retrain_eval.common.numerics.joint import TEST_COLUMNS
from retrain_eval.plan.registered import Registration, Standing, deviations, exploratory, in_force, stated_standing
from retrain_eval.plan.strata import Stratum
from retrain_eval.release.bundle import Bundle
from retrain_eval.release.layout import TABLES
from retrain_eval.release.results import is_withheld
from retrain_eval.report.language.catalogue import ENGLISH, _, speak
from retrain_eval.report.words import Words
from retrain_eval.sample.balance.rating import BalanceVerdict, balance_verdict
from retrain_eval.sample.ties import MANY

PEERS = ("pyfixest", "linearmodels")  # estimators of other packages, shown next to our own
QUALITY, INTENSITY = "quality_", "intensity"  # parts of employment quality among the outcomes
RELEASE, RELEASE_SHA256, COMPANIONS = "RETRAIN_RELEASE", "RETRAIN_RELEASE_SHA256", "RETRAIN_COMPANIONS"
EARLIER, LANGUAGE = "RETRAIN_EARLIER", "RETRAIN_LANGUAGE"


@dataclass(frozen=True)
class Study:
    """One bundle with its words."""

    bundle: Bundle

    @property
    def folder(self) -> str:
        """Where the report has its copy of the bundle, relative to its first page."""
        return f"release/{self.bundle.name}/{self.bundle.edition}"

    @cached_property
    def words(self) -> Words:
        """The vocabulary of the study."""
        return Words.of(self.bundle.manifest, self.bundle.study, self.bundle.dictionary)

    @property
    def facts(self) -> dict[str, object]:
        """The study's title, question, data, limitations and citation."""
        facts: dict[str, object] = self.bundle.manifest["study"]
        return facts

    @cached_property
    def effects(self) -> pd.DataFrame:
        """Published estimates with text keys; empty when the study has none."""
        frame = self.bundle.effects
        texts = ["result", "outcome", "estimator", "estimand", "subgroup", "level", "note"]
        if frame is None:
            columns = TABLES["effects"]
            return pd.DataFrame({name: pd.Series(dtype="str" if name in texts else "float64") for name in columns})
        known = frame.reindex(columns=texts)  # a column without a value is not in the file
        return frame.assign(**{column: known[column].astype("string").fillna("").astype(str) for column in texts})

    @property
    def matched_periods(self) -> list[int]:
        """Periods whose outcome the controls were matched on, read from the formula; empty when on none.

        ``earnings_2019`` names a period, ``earnings_m4`` the fourth before training (with risk sets: joblessness).
        """
        outcome = re.escape(str(self.bundle.study.get("did", {}).get("outcome", "")))
        formula = str(self.bundle.study.get("match", {}).get("formula", ""))
        periods = re.findall(rf"\b{outcome}_(m?)(\d+)\b", formula) if outcome else []
        return sorted({-int(number) if before else int(number) for before, number in periods})

    @property
    def words_before(self) -> Words:
        """The vocabulary of what is matched on: with risk sets periods count from joblessness, not training."""
        riskset = self.bundle.study.get("match", {}).get("method") == "riskset"
        return replace(self.words, jobless=True) if riskset else self.words

    def means(self, outcome: str = "") -> pd.DataFrame:
        """Return the mean paths of an outcome; of the study's own, the first in the file, by default."""
        means = self.bundle.means
        assert means is not None
        return means[means["outcome"] == (outcome or means["outcome"].iloc[0])].reset_index(drop=True)

    @property
    def together(self) -> list[str]:
        """Results by several strata together of which some effect is published."""
        return [name for name in self.results("cells_by_") if self.result(name)["estimate"].notna().any()]

    @property
    def other_outcomes(self) -> list[str]:
        """Outcomes other than the main one that have an event study of their own; no parts of employment quality."""
        names = [name.removeprefix("event_study_") for name in self.results("event_study_")]
        return [name for name in names if name != INTENSITY and not name.startswith(QUALITY)]

    def results(self, prefix: str = "") -> list[str]:
        """Return the ids of results that start with ``prefix``, in the order of the file."""
        return [name for name in dict.fromkeys(self.effects["result"]) if name.startswith(prefix)]

    @cached_property
    def balance_verdict(self) -> BalanceVerdict | None:
        """What balance allows one to conclude; None without matching, effect sizes, or a covariate that is shown."""
        balance = self.bundle.balance
        if balance is None or "effect_size_after" not in balance or (balance["covariate"] == "distance").all():
            return None
        return balance_verdict(balance, self.bundle.matching)

    @cached_property
    def registration(self) -> Registration | None:
        """The registered plan that binds these results, if there is one."""
        return in_force(self.bundle.plan, self.plan_standing)

    @cached_property
    def plan_standing(self) -> Standing:
        """For each registration, whether it binds these results and how many of their record files had been read."""
        return stated_standing(self.bundle.plan, self.bundle.manifest)

    @cached_property
    def deviations(self) -> pd.DataFrame:
        """What departs from the plan in force, ``field, planned, used``; empty where none binds."""
        if self.registration is None:
            return pd.DataFrame(columns=["field", "planned", "used"])
        script = str(self.bundle.manifest.get("script_sha256", ""))
        return deviations(self.registration, self.bundle.study_file, script)

    @cached_property
    def exploratory(self) -> set[str]:
        """Results that the plan in force does not name; empty where none binds, for then all of them are."""
        return set() if self.registration is None else exploratory(self.effects, self.registration.plan)

    def marked(self, result: str, label: str) -> str:
        """Return the label of a result, with a mark where the registered plan does not name it."""
        return _("{label} (exploratory)", label=label) if result in self.exploratory else label

    def result(self, name: str, **keys: str) -> pd.DataFrame:
        """Return the rows of one result, with every key given."""
        rows = self.effects[self.effects["result"] == name]
        for column, value in keys.items():
            rows = rows[rows[column] == value]
        return rows.reset_index(drop=True)

    @cached_property
    def main_effect(self) -> pd.Series | None:
        """The row that the study stands on: the matched effect, else the overall one of a DiD or event study."""
        for name in ("att_matched", "did", "group", "event_study"):
            rows = self.own(name)
            if name in ("group", "event_study") and len(rows):
                rows = rows[rows["cohort" if name == "group" else "event_time"].isna()]
            rows = rows[rows["estimate"].notna()]
            if len(rows):
                return rows.iloc[0]
        return None

    def own(self, name: str) -> pd.DataFrame:
        """Return the rows of one result as this package estimates it, without those of a second engine."""
        rows = self.result(name)
        own = rows[~rows["estimator"].isin(PEERS)]
        return (own if len(own) else rows).reset_index(drop=True)

    def in_order(self, levels: Iterable[str], subgroup: str) -> list[str]:
        """Return the levels of a subgroup in the order in which the study file names them."""
        given = self.bundle.study.get("strata", {}).get(subgroup)
        named = list(msgspec.convert(given, Stratum).levels()) if given else []
        present = list(dict.fromkeys(levels))
        return [level for level in named if level in present] + [level for level in present if level not in named]

    @property
    def suppressed(self) -> int:
        """Number of published rows whose numbers are withheld."""
        return int(is_withheld(self.effects).sum()) if "note" in self.effects else 0

    def say_suppressed(self, name: str) -> str:
        """Say that no estimate of a result is published, and why."""
        reason = self.bundle.withheld.get(name)
        if not reason:
            return _("Every estimate rests on too few people to be published.")
        return _("Nothing of this is published: {reason}.", reason=_(reason))

    def shown(self) -> set[str]:
        """Return names of what is published in part at least, on which figures depend.

        ``{result}_shown``: an estimate of it; ``{result}_by_arm``: of the trained and of their controls;
        ``{result}_by_groups``: in the levels of a stratum; ``{result}_verdicts``: what can be said of these;
        ``dropping_out_combined``: differences by digital access in dropping out, within other groups.
        """
        found = {f"{name}_shown" for name in self.results() if self.own(name)["estimate"].notna().any()}
        verdicts = self.bundle.verdicts
        for name in ("jobless_since_start", "first_job", "first_job_ends"):
            rows = self.result(name)
            if {"trained", "matched controls"} <= set(rows.loc[rows["estimate"].notna(), "level"]):
                found.add(f"{name}_by_arm")
            if any(self.result(part)["estimate"].notna().any() for part in self.results(f"{name}_by_")):
                found.add(f"{name}_by_groups")
            if verdicts is not None and verdicts["result"].str.startswith(f"{name}_by_").any():
                found.add(f"{name}_verdicts")
        for part in self.results("programme_ends_by_access_level_and_"):
            rows = self.result(part)
            of_dropping_out = rows["estimand"].str.contains("dropped_out|no_reason") & rows["estimate"].notna()
            if part.endswith(("_difference", "_gap")) and of_dropping_out.any():
                found.add("dropping_out_combined")
        for name, column in (("e_values", "e_value"), ("rosenbaum", "p_value")):
            table: pd.DataFrame | None = getattr(self.bundle, name)
            if table is not None and table[column].notna().any():
                found.add(f"{name}_shown")
        return found

    def test(self, result: str, test: str | None = None) -> pd.DataFrame:
        """Return the test statistics of one result."""
        tests = self.bundle.tests
        if tests is None:
            return pd.DataFrame(columns=["result", *TEST_COLUMNS])
        rows = tests[tests["result"] == result]
        return rows if test is None else rows[rows["test"] == test]


@dataclass(frozen=True)
class Release:
    """The study a report is about, the studies printed next to it, and earlier editions of the main one, in order."""

    main: Study
    companions: tuple[Study, ...] = ()
    earlier: tuple[Study, ...] = ()

    @property
    def studies(self) -> tuple[Study, ...]:
        """The main study first."""
        return (self.main, *self.companions)

    @property
    def editions(self) -> tuple[Study, ...]:
        """The editions of the main study, the earliest first."""
        return (*self.earlier, self.main)

    def study_with(self, prefix: str) -> Study | None:
        """Return the first study that has a result whose id starts with ``prefix``."""
        return next((study for study in self.studies if study.results(prefix)), None)

    def say_other_people(self, study: Study) -> str:
        """Say that a companion study is about other people than the main one; nothing of the main study."""
        if study is self.main:
            return ""
        return _(
            "The {units} on this page are not those of the main study. {data}",
            units=study.words.units,
            data=study.facts["data"],
        )

    def parts(self) -> set[str]:
        """Return the names of the tables and results of the release, on which pages and sections depend."""
        main = self.main
        tables = [name for name in TABLES if name != "withheld"]
        parts = {name for name in tables if getattr(main.bundle, name) is not None} | set(main.results())
        # a page on groups needs the effect of one: all may be withheld
        known = any(main.result(name)["estimate"].notna().any() for name in main.results("att_by_"))
        families = {"subgroups": known or bool(main.together), "one_stratum": known}
        families["differences"] = bool(main.results("difference_by_"))
        families["programmes"] = any(main.result(name)["estimate"].notna().any()
                                     for name in main.results("programmes_in_"))  # fmt: skip
        families["alternative"] = any(main.result(name)["estimate"].notna().any()
                                      for name in main.results("alternative_by_"))  # fmt: skip
        families["wage_path_asked"] = "wage_path" in main.bundle.study.get("questions", {})
        families["pay"] = any(main.result(name)["estimate"].notna().any() for name in ("wage_path", "wage_path_bounds"))
        families["wage_models"] = bool(set(main.results("wage_path_")) - {"wage_path_bounds"})
        families["quality_parts"] = bool(main.results(f"event_study_{QUALITY}"))
        families["matched_within"] = any(
            name.startswith("moments/matched_by_") for name in main.bundle.manifest["files"]
        )
        families["paired_within"] = any(name.startswith("moments/pairs_by_") for name in main.bundle.manifest["files"])
        families["providers_asked"] = "providers" in main.bundle.study.get("questions", {})
        families["withheld"] = any(study.bundle.withheld for study in self.studies)
        families["plan"] = bool(main.bundle.plan)
        families["deviations"] = len(main.deviations) > 0
        families["exploratory"] = bool(main.exploratory)
        families["earlier"] = bool(self.earlier)
        families["matched"] = "match" in main.bundle.study
        families["many_ties"] = (ties := main.bundle.ties) is not None and bool((ties["share"] > MANY).any())
        families["riskset"] = main.words_before is not main.words
        families["matched_on_outcome"] = bool(main.matched_periods)
        families["outcomes"] = bool(main.other_outcomes)
        families["truth"] = bool(main.results("truth"))
        families["engines"] = len(set(main.result("att_matched")["estimator"])) > 1
        families["sensitivity"] = bool(
            parts & {"bounds", "base_moved_back", "placebo_starts", "rosenbaum", "e_values", "oster"}
        )
        families["survival"] = self.study_with("km_") is not None or "first_job" in parts
        families["money"] = bool(parts & {"net_benefit", "ledger", "benefit_over_time"})
        families["digital_divide"] = "digital_divide" in main.bundle.study.get("questions", {})
        families["replication"] = self.study_with("example_") is not None
        return parts | main.shown() | {name for name, present in families.items() if present}


def open_release(paths: Sequence[Path] | None = None, earlier: Sequence[Path] = ()) -> Release:
    """Open the release named by the environment, or the bundles at ``paths`` (the main one first).

    ``earlier`` are earlier editions of the main study.

    Raises
    ------
    ReportError
        If no release is named.
    ReleaseError
        If a bundle is not as it was released.
    """
    if paths is None:
        named = [os.environ.get(RELEASE, ""), *os.environ.get(COMPANIONS, "").split(os.pathsep)]
        paths = [Path(path) for path in named if path]
        speak(os.environ.get(LANGUAGE) or ENGLISH)
        earlier = [Path(path) for path in os.environ.get(EARLIER, "").split(os.pathsep) if path]
    if not paths:
        raise ReportError(f"no release to report on: set {RELEASE} to a bundle, or use `retrain-eval report`")
    main, *others = (Study(Bundle.open(path)) for path in paths)
    return Release(main, tuple(others), tuple(Study(Bundle.open(path)) for path in earlier))
