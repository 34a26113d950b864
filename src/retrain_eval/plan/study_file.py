"""The study file: ``study.toml`` as typed, validated objects, and its canonical hash.

The file is the plan of a study. It says which records, which comparison and which results; ``run.py`` beside
it says in what order. A key that does not exist is an error that names it, never a silent default.
"""

from __future__ import annotations

import hashlib
import json
import re
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, get_args

import msgspec

from retrain_eval.common.errors import InputError, together
from retrain_eval.common.periods import parse_period
from retrain_eval.common.periods import rule as period_rule
from retrain_eval.common.text.file_names import RULE, is_plain_name
from retrain_eval.common.untrusted import own_bytes, parse_toml
from retrain_eval.plan.designs import AnyDesign, check_design, with_kinds
from retrain_eval.plan.keys import check_keys
from retrain_eval.plan.outcomes import check_outcomes
from retrain_eval.plan.questions import Questions, check_designs, check_strata
from retrain_eval.plan.rules import Release as Release
from retrain_eval.plan.rules import check_rules, rename_rules, with_profile
from retrain_eval.plan.sources import Source
from retrain_eval.plan.strata import Stratum, check_stratum
from retrain_eval.plan.values import in_file, unusable

FILE = "study.toml"


Frequency = Literal["year", "quarter", "month", "week", "two-week interval"]  # retrain_eval.common.periods.FREQUENCIES


class About(msgspec.Struct, frozen=True, kw_only=True):
    """``[study]``: what is asked, of which data, and what the data cannot say."""

    name: Annotated[str, msgspec.Meta(pattern=r"^[a-z][a-z0-9_]*$")]
    title: str
    question: str
    data: str
    unit: str = "person"
    frequency: Frequency = "year"
    currency: str = ""
    citation: str = ""
    limitations: tuple[str, ...] = ()
    synthetic: bool = False
    seed: Annotated[int, msgspec.Meta(ge=0)] = 20260101


class Ingest(msgspec.Struct, frozen=True, kw_only=True):
    """``[ingest]``: how bad rows are met, and whether identifiers are kept or only their keyed hash."""

    tolerate: Annotated[float, msgspec.Meta(ge=0, lt=1)] = 0.0
    identifiers: Literal["plain", "hmac"] = "plain"


class Panel(msgspec.Struct, frozen=True, kw_only=True):
    """``[panel]``: keywords of `retrain_eval.build_panel` and `retrain_eval.build_spells`; periods may be labels."""

    no_record: Literal["missing", "zero", "coverage"] | None = None
    window: tuple[int | str, int | str] | None = None
    base_period: int | str | None = None
    successor_share: Annotated[float, msgspec.Meta(gt=0, le=1)] = 0.8
    recall_within: Annotated[int, msgspec.Meta(ge=0)] | None = None


Dimension = Literal["earnings", "tenure", "stability", "occupation"]


class Quality(msgspec.Struct, frozen=True, kw_only=True):
    """``[quality]``: keywords of `retrain_eval.build_quality`."""

    dimensions: Annotated[tuple[Dimension, ...], msgspec.Meta(min_length=1)] = get_args(Dimension)
    min_tenure: Annotated[int, msgspec.Meta(ge=1)] | None = None
    max_cv: Annotated[float, msgspec.Meta(gt=0)] = 0.5
    cutoff_k: Annotated[float, msgspec.Meta(gt=0, le=1)] = 0.5
    non_employed: Literal["deprived", "excluded"] = "deprived"


class Match(msgspec.Struct, frozen=True, kw_only=True):
    """``[match]``: keywords of `retrain_eval.match`."""

    formula: str
    method: str = "nearest"
    distance: str = "glm"
    exact: tuple[str, ...] = ()
    caliper: float | None = None
    caliper_sd: str = "full"
    ratio: Annotated[int, msgspec.Meta(ge=1)] = 1
    replace: bool = False
    ties: str = "all"
    m_order: str | None = None
    link: str | None = None
    discard: str = "none"
    start: str | None = None
    entry: str | None = None
    end: str | None = None
    allow_later_treated: bool = True
    cutpoints: str | dict[str, int | str | tuple[float, ...]] = "sturges"
    grouping: dict[str, tuple[tuple[str, ...], ...]] = {}
    moments: int = 1
    estimand: str = "ATT"


class Did(msgspec.Struct, frozen=True, kw_only=True):
    """``[did]``: the outcome, the keywords of `att_gt`, and the smallest effect that would matter to anyone."""

    outcome: str
    method: Literal["dr", "reg", "ipw"] = "dr"
    covariates: tuple[str, ...] = ()
    control: Literal["never_treated", "not_yet_treated"] = "never_treated"
    base_period: Literal["universal", "varying"] = "universal"
    anticipation: Annotated[int, msgspec.Meta(ge=0)] = 0
    smallest_worthwhile: Annotated[float, msgspec.Meta(gt=0)] | None = None


Code = bool | int | str


class Survival(msgspec.Struct, frozen=True, kw_only=True):
    """``[survival]``: what ends a spell, which codes are events or mean censored, and the curve's interval."""

    duration: str
    cause: str
    event: Code | tuple[Code, ...] | None = None
    censored: Code | tuple[Code, ...] | None = None
    conf_type: Literal["log-log", "log", "plain"] = "log-log"


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """``[plan]``: what is asked beside the main outcome and the strata; anything else is exploratory.

    ``required`` names the results without which there is no edition: where one is withheld, `run` and `release` fail.
    """

    outcomes: tuple[str, ...] = ()
    subgroups: tuple[str, ...] = ()
    required: tuple[str, ...] = ()


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """``[outcomes.NAME]``: what an outcome is, which decides how it is protected, and a cap on an amount."""

    kind: Literal["amount", "log", "binary", "score"] | None = None
    cap: Annotated[float, msgspec.Meta(gt=0)] | None = None


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """``[report]``: other studies whose bundles the book shows, as folders relative to this one, and its language."""

    companions: tuple[str, ...] = ()
    language: Literal["en", "zh"] = "en"


class StudyFile(msgspec.Struct, frozen=True, kw_only=True):
    """The whole of ``study.toml``."""

    study: About
    records: dict[str, str | tuple[str, ...]] = {}
    sources: dict[str, Source] = {}
    ingest: Ingest = Ingest()
    panel: Panel = Panel()
    quality: Quality = Quality()
    strata: dict[str, Stratum] = {}
    outcomes: dict[str, Outcome] = {}
    match: Match | None = None
    did: Did | None = None
    survival: Survival | None = None
    designs: dict[str, AnyDesign] = {}
    questions: Questions = Questions()
    plan: Plan = Plan()
    release: Release = Release()
    report: Report = Report()

    def panel_options(self) -> dict[str, Any]:
        """Return the keywords of `retrain_eval.build_panel` that the study file gives."""
        options = msgspec.structs.asdict(self.panel)
        del options["recall_within"]
        window, base = options["window"], options["base_period"]
        frequency = self.study.frequency
        options["window"] = window and tuple(parse_period(end, frequency) for end in window)
        options["base_period"] = None if base is None else parse_period(base, frequency)
        return options

    def quality_options(self) -> dict[str, Any]:
        """Return the keywords of `retrain_eval.build_quality` that the study file gives."""
        return msgspec.structs.asdict(self.quality)

    def match_options(self) -> dict[str, Any]:
        """Return the keywords of `retrain_eval.match` that the study file gives, the study's seed among them.

        Raises
        ------
        InputError
            If it has no ``[match]``.
        """
        options = msgspec.structs.asdict(_given(self.match, "match"))
        options["formula"] = self._stored(options["formula"])
        options["exact"] = tuple(map(self._stored, options["exact"]))
        if isinstance(options["cutpoints"], dict):
            options["cutpoints"] = {self._stored(name): cuts for name, cuts in options["cutpoints"].items()}
        options["grouping"] = {self._stored(name): groups for name, groups in options["grouping"].items()}
        return {**options, "seed": self.study.seed}

    def match_periods(self) -> tuple[int, ...]:
        """Return the periods whose earnings ``[match]`` names: ``earnings_2019``, ``earnings_2019M03``.

        They are as stored, and so are the names of the columns that `retrain_eval.baseline` makes of them.
        """
        formula = self._stored(_given(self.match, "match").formula)
        return tuple(sorted({int(period) for period in re.findall(r"\bearnings_(\d+)\b", formula)}))

    def _stored(self, text: str) -> str:
        """Return a formula, or the name of a column, with each period as it is stored.

        A number that is not a period of the study is left as it is: it belongs to a column of the study's own.
        """
        frequency = self.study.frequency

        def stored(found: re.Match[str]) -> str:
            try:
                return f"earnings_{parse_period(found[1], frequency)}"
            except InputError:
                if found[1].isdigit():
                    return found[0]
                raise

        return re.sub(r"\bearnings_(\d[\dQM]*)\b", stored, text, flags=re.ASCII)

    def outcome_options(self, name: str) -> dict[str, Any]:
        """Return the keywords of `retrain_eval.outcome_moments` that ``[outcomes.NAME]`` gives."""
        return msgspec.structs.asdict(self.outcomes.get(name, Outcome()))

    def did_options(self) -> dict[str, Any]:
        """Return the keywords of `att_gt` that the study file gives, the study's seed among them but not the outcome.

        Raises
        ------
        InputError
            If it has no ``[did]``.
        """
        options = msgspec.structs.asdict(_given(self.did, "did"))
        del options["outcome"], options["smallest_worthwhile"]
        return {**options, "seed": self.study.seed}

    def survival_options(self) -> dict[str, Any]:
        """Return the keywords of `retrain_eval.Spells` that the study file gives; refuse one without ``[survival]``."""
        options = msgspec.structs.asdict(_given(self.survival, "survival"))
        del options["conf_type"]
        return options

    @property
    def all_strata(self) -> dict[str, Stratum]:
        """The strata of the study, and those that its questions bring along."""
        return {**self.strata, **self.questions.strata()}

    def sha256(self) -> str:
        """Return the canonical hash: the same for files that differ in comments, order or spelling of defaults."""
        stated = msgspec.to_builtins(self)
        if not self.sources:  # plans of earlier versions, which had none, keep their hash
            del stated["sources"]
        canonical = json.dumps(stated, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
        return hashlib.sha256(canonical.encode()).hexdigest()


Section = TypeVar("Section", bound=msgspec.Struct)


def _given(section: Section | None, name: str) -> Section:
    if section is None:
        raise InputError(f"this study has no section [{name}]", file=FILE, fix=f"add [{name}]")
    return section


def read_study(path: str | Path) -> StudyFile:
    r"""Read and check a study file.

    Parameters
    ----------
    path : str or Path
        ``study.toml``, or the folder that holds it.

    Raises
    ------
    InputError
        If the file is missing, not UTF-8, not TOML, has an unknown or missing key, or a value of the wrong
        type; the key is named with its place.

    Examples
    --------
    >>> import tempfile, pathlib
    >>> folder = pathlib.Path(tempfile.mkdtemp())
    >>> _ = (folder / "study.toml").write_text('[study]\nname = "x"\ntitel = "T"\n[records]\n')
    >>> try:
    ...     read_study(folder)
    ... except InputError as error:
    ...     print(str(error).splitlines()[0])
    unknown key in [study] 'titel'
    """
    path = Path(path)
    path = path / FILE if path.is_dir() else path
    try:
        raw = parse_toml(own_bytes(path, "the study file"))
    except InputError:
        raise
    except FileNotFoundError:
        raise InputError("there is no study file", file=path, fix="start one with: retrain-eval init FOLDER") from None
    except OSError as error:
        raise InputError("the study file cannot be read", file=path, rule=error.strerror) from None
    except UnicodeDecodeError as error:
        raise InputError("the study file is not UTF-8", file=path, rule=str(error), fix="save it as UTF-8") from None
    except (ValueError, RecursionError) as error:
        raise InputError("the study file is not valid TOML", file=path, rule=str(error)) from None
    rename_rules(raw)
    raw = with_kinds(raw)
    check_keys(raw, StudyFile, "", path)
    raw["release"] = with_profile(raw.get("release", {}), path)
    try:
        study = msgspec.convert(raw, StudyFile, strict=True)
    except msgspec.ValidationError as error:
        raise in_file(unusable(error, raw, StudyFile), path) from None
    faults = [
        InputError(f"no file is given for {name}", file=path, fix="name one, or drop the record type")
        for name, files in study.records.items()
        if not files
    ]
    checks = [partial(check, study, path) for check in (_check_name, _check_panel, _check_questions)]
    checks.append(partial(check_rules, study.release, path))
    checks += [partial(check_stratum, name, stratum, path) for name, stratum in study.strata.items()]
    for check in checks:
        try:
            check()
        except InputError as error:
            faults.append(in_file(error, path))
    if faults:
        raise together(faults, "{n} entries of the study file do not hold")
    return study


def _check_name(study: StudyFile, path: Path) -> None:
    """Refuse a study name that is not a folder name on every system: the report has a folder of that name."""
    if not is_plain_name(name := study.study.name):
        raise InputError("the study's name is not a valid folder name", file=path, column="name", value=name, rule=RULE)


def _check_questions(study: StudyFile, path: Path) -> None:
    """Refuse designs whose periods do not hold, and questions without a design."""
    for name, design in study.designs.items():
        check_design(name, design, study.study.frequency, matched=study.match is not None, path=path)
    check_designs(study.questions, tuple(study.designs))
    check_strata(study.questions, study.strata)
    named = {"[did] outcome": [study.did.outcome] if study.did else [], "[plan] outcomes": study.plan.outcomes}
    check_outcomes(study.questions, named, {name: outcome.kind for name, outcome in study.outcomes.items()})
    for name in set(study.strata) & set(study.questions.strata()):
        raise InputError(
            f"the name of [strata.{name}] is taken",
            file=path,
            rule="a question that is asked brings a stratum of this name along",
            fix="rename it",
        )


def _check_panel(study: StudyFile, path: Path) -> None:
    """Refuse periods that the study's frequency does not have, and a window that holds none."""
    frequency, window, base = study.study.frequency, study.panel.window, study.panel.base_period
    places = [("base_period", base), *(("window", end) for end in window or ())]
    for column, value in places:
        if value is None:
            continue
        try:
            parse_period(value, frequency)
        except InputError:
            raise InputError(
                f"{column} in [panel] is not a {frequency}",
                file=path,
                column=column,
                value=value,
                rule=f"{period_rule(frequency)}, as [study] frequency says",
            ) from None
    if study.match is not None:
        try:
            study.match_periods()
        except InputError as error:
            raise InputError(
                f"a covariate of [match] is not earnings in a {frequency}",
                file=path, column="formula", value=f"earnings_{error.value}",
                rule=f"{period_rule(frequency)}, as [study] frequency says",
            ) from None  # fmt: skip
    if window is not None and parse_period(window[0], frequency) > parse_period(window[1], frequency):
        raise InputError(
            "the window in [panel] ends before it starts", file=path, value=list(window), rule="first and last period"
        )
