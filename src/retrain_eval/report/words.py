"""How the report says things: amounts, intervals, periods and the names of groups, from the study's own words."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import pandas as pd

from retrain_eval.common.levels import MISSING_LEVEL
from retrain_eval.common.periods import BOUNDS
from retrain_eval.common.text.csv_cells import csv_text
from retrain_eval.report.language.catalogue import N_, _
from retrain_eval.report.numerals import MINUS, NBSP, signed

WITHHELD = N_("withheld")  # in place of a count
_CALENDAR = 1000  # smaller numbers are not years or quarters but distances from the start of training
_SYMBOLS = {"USD": "$", "EUR": "€", "GBP": "£", "JPY": "¥", "CNY": "¥", "INR": "₹"}
_PERIODS = {"annual": "year", "yearly": "year", "quarterly": "quarter", "monthly": "month", "weekly": "week"}
_PLURALS = {"person": N_("people"), "firm": N_("firms"), "year": N_("years"), "quarter": N_("quarters"),
            "month": N_("months"), "week": N_("weeks"), "two-week interval": N_("two-week intervals")}  # fmt: skip
_NUMBERED = ("week", "two-week interval")  # periods that are numbers, not dates: small ones too
# words that studies often use for outcomes, groups and their levels
_COMMON = (
    N_("earnings"), N_("wages"), N_("age"), N_("age band"), N_("education"), N_("education level"), N_("sex"),
    N_("region"), N_("tier"), N_("delivery"), N_("under 25"), N_("25 to 39"), N_("40 to 54"), N_("55 and over"),
    N_("below upper secondary"), N_("upper secondary"), N_("tertiary"), N_("foundation"), N_("transition"),
    N_("substitution"), N_("public"), N_("employer"), N_("mixed"), N_("claimed"), N_("not claimed"),
    N_("age at displacement"), N_("unemployment insurance"),
)  # fmt: skip
_UNITS = (N_("person"), N_("firm"), N_("year"), N_("quarter"), N_("month"), N_("week"), N_("two-week interval"),
          N_("period"), N_("periods"))  # fmt: skip
# outcomes of the panel that are not amounts of money, as a reader meets them
_SHARES = {
    "employed": N_("share employed"),
    "full_quarter": N_("share in full-quarter employment"),  # other periods: `Words.name`
    "deprived": N_("share in employment of poor quality"),
    "m0": N_("deprivation in employment quality (M0)"),
    "intensity": N_("average share of dimensions in which people in employment of poor quality are deprived (A)"),
    "quality_earnings": N_("earnings below the living wage"),
    "quality_tenure": N_("short tenure"),
    "quality_stability": N_("unstable employment"),
    "quality_occupation": N_("an occupation that pays less"),
    "log_earnings": N_("log earnings"),
}


@dataclass(frozen=True)
class Words:
    """The vocabulary of one study.

    Attributes
    ----------
    unit : str
        What one row of the sample is: ``"person"``, ``"firm"``.
    period : str
        ``"year"``, ``"quarter"`` or what the study file gives.
    currency : str
        ISO code; empty when the outcome is not money.
    labels : mapping
        Words for columns, levels and outcomes that differ from their names.
    duration : str
        Plural unit of spell lengths where it is not the period: ``"two-week periods"``.
    compared : str
        What those not trained are called: ``"matched controls"`` where the study matches.

    Examples
    --------
    >>> words = Words(unit="person", period="year", currency="USD")
    >>> words.amount(-8497.5), words.interval(377.2, 3036)
    ('−$8,498', '$377 to $3,036')
    >>> Words(unit="firm", period="year").amount(-0.3791)
    '−0.379'
    >>> words.count(185), words.name("age_band"), words.time(1978.0)
    ('185 people', 'age band', '1978')
    """

    unit: str = "person"
    period: str = "period"
    currency: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    duration: str = ""
    compared: str = "controls"
    jobless: bool = False  # distances before an event are from joblessness, not from training

    @classmethod
    def of(cls, manifest: Mapping[str, Any], study: Mapping[str, Any], dictionary: pd.DataFrame | None = None) -> Words:
        """Read the vocabulary from a bundle: manifest, study file and data dictionary."""
        facts = manifest["study"]
        frequency = str(facts.get("frequency") or "period")
        labels: dict[str, str] = {}
        duration = ""
        if dictionary is not None:
            rows = dictionary.astype("string").fillna("")
            labels = {str(name): str(title) for name, title in zip(rows["column"], rows["title"], strict=True) if title}
            spell = rows[rows["column"] == study.get("survival", {}).get("duration")]
            duration = str(spell["unit"].iloc[0]) if len(spell) else ""
        strata = study.get("strata", {})
        labels |= {name: stratum["title"] for name, stratum in strata.items() if stratum.get("title")}
        return cls(
            unit=str(facts.get("unit") or "person"),
            period=_PERIODS.get(frequency, frequency),
            currency=str(facts.get("currency") or ""),
            labels=labels,
            duration=duration,
            compared="matched controls" if "match" in study else "controls",
        )

    @property
    def units(self) -> str:
        """Plural of the unit."""
        return _plural(self.unit)

    @property
    def controls(self) -> str:
        """Those not trained."""
        return _(self.compared)

    def _label(self, key: str) -> str:
        """Return the label of a name as it reads in a sentence; empty where it has none."""
        label = self.labels.get(key, "")
        text = _(label) if label else ""
        return in_sentence(text) if text != label else _(in_sentence(label)) if label else ""

    def name(self, key: object) -> str:
        """Return the label of a column, level or outcome, or the name itself made readable."""
        one, minus, other = str(key).partition(" minus ")  # a contrast of two levels
        if minus:
            return _("{one} minus {other}", one=self.name(one), other=self.name(other))
        if str(key) == MISSING_LEVEL:
            return _("(missing)")
        if key == "full_quarter" and self.period != "quarter" and not self._label(str(key)):
            return _("share in full-{period} employment", period=_(self.period))
        if (interval := self._interval(str(key))) is not None:
            return interval
        return self._label(str(key)) or _(_SHARES.get(str(key), str(key).replace("_", " ")))

    def _interval(self, level: str) -> str | None:
        """Return a level that is named after the cuts of its stratum, in words; None if it is none."""
        number = r"(-?\d+(?:\.\d+)?)"
        under = re.fullmatch(rf"under\s{number}", level)
        between = re.fullmatch(rf"{number}\sto\sunder\s{number}", level)
        over = re.fullmatch(rf"{number}\sand\sover", level)
        if (under or between or over) and _(level) != level:
            return _(level)
        if under:
            return _("under {high}", high=under[1])
        if between:
            return _("{low} to under {high}", low=between[1], high=between[2])
        return _("{low} and over", low=over[1]) if over else None

    def covariate(self, key: object) -> str:
        """Return what a row of the balance table is about; ``distance`` is the score that people were matched on.

        Examples
        --------
        >>> words = Words(period="quarter")
        >>> [words.covariate(name) for name in ("distance", "earnings_m2", "earnings_1974", "home_region_m")]
        ['matching score', 'earnings, 2 quarters before training', 'earnings 1974', 'home region m']
        >>> Words(period="month").covariate("earnings_24230"), Words(period="week").covariate("earnings_12")
        ('earnings, in 2019-03', 'earnings, in week 12')
        >>> Words(period="quarter", jobless=True).covariate("earnings_m0")
        'earnings, in the quarter joblessness began'
        """
        if str(key) in self.labels:
            return self._label(str(key))
        before = re.fullmatch(r"(.+)_m(\d+)", str(key))
        if before:
            return _("{name}, {when}", name=self.name(before[1]), when=self.at(-int(before[2])))
        dated = re.fullmatch(r"(.+)_(\d+)", str(key))
        if dated and self.period != "year" and self._is_period(int(dated[2])):
            return _("{name}, {when}", name=self.name(dated[1]), when=self.at(int(dated[2]), calendar=True))
        return _("matching score") if key == "distance" else self.name(key)

    def _is_period(self, number: int) -> bool:
        """Return whether a number can be a period of the study."""
        low, high = BOUNDS.get(self.period, (_CALENDAR, 9999))
        return low <= number <= high

    def about(self, outcome: object) -> Words:
        """Return the vocabulary for an outcome: a share is not an amount of money.

        Examples
        --------
        >>> Words(currency="USD").about("employed").amount(0.0412), Words(currency="USD").about("earnings").amount(412)
        ('0.041', '$412')
        """
        return replace(self, currency="") if str(outcome) in _SHARES else self

    def count(self, n: float) -> str:
        """Return a count with its unit."""
        return _("{n:,} {unit}", n=int(n), unit=_(self.unit) if n == 1 else self.units)

    def amount(self, value: float, *, signed: bool = False) -> str:
        """Return a value in the outcome's unit, rounded to what a reader can use."""
        if pd.isna(value):
            return _("not available")
        symbol = _SYMBOLS.get(self.currency, self.currency + NBSP if self.currency else "")
        size = abs(value)
        digits = 0 if self.currency or size >= 100 else 1 if size >= 10 else 3
        text = f"{symbol}{size:,.{digits}f}"
        zero = float(f"{size:.{digits}f}") == 0
        return text if zero else f"{MINUS}{text}" if value < 0 else f"+{text}" if signed else text

    def interval(self, low: float, high: float) -> str:
        """Return the two ends of an interval."""
        if pd.isna(low) and pd.isna(high):
            return _("not available")
        return _("{low} to {high}", low=self.amount(low), high=self.amount(high))

    def with_interval(self, row: pd.Series, *, signed: bool = False) -> str:
        """Return the estimate of a row with its interval, or that it has none.

        Examples
        --------
        >>> row = pd.Series({"estimate": 817.0, "ci_low": float("nan"), "ci_high": float("nan")})
        >>> Words(currency="USD").with_interval(row)
        '$817 (no interval)'
        """
        low, high = row["ci_low"], row["ci_high"]
        interval = _("no interval") if pd.isna(low) and pd.isna(high) else self.interval(low, high)
        return f"{self.amount(row['estimate'], signed=signed)} ({interval})"

    def per_period(self) -> str:
        """Return ``" a year"`` for money, which is a flow, and nothing otherwise."""
        return _(" a {period}", period=_(self.period)) if self.currency else ""

    def periods(self, n: float) -> str:
        """Return a number of periods with its noun."""
        return _("{n:g} {unit}", n=n, unit=_(self.period) if abs(n) == 1 else _plural(self.period))

    @property
    def numbered(self) -> bool:
        """Whether periods are numbers, not dates."""
        return self.period in _NUMBERED

    @property
    def one(self) -> str:
        """The unit, in the current language."""
        return _(self.unit)

    @property
    def several(self) -> str:
        """Plural of the period."""
        return _plural(self.period)

    @property
    def durations(self) -> str:
        """Plural unit of spell lengths."""
        return _(self.duration) if self.duration else _plural(self.period)

    def _dated(self, value: float, calendar: bool | None) -> bool:
        """Return whether a number is a period rather than a distance from the start of training, where no one says."""
        return abs(int(value)) >= _CALENDAR if calendar is None else calendar

    def time(self, value: float, calendar: bool | None = None) -> str:
        """Return a period as readers write it; quarters are stored as ``year * 4 + quarter - 1``, months alike.

        Parameters
        ----------
        value : float
        calendar : bool, optional
            Whether it is a period, or else a distance from the start of training. Left out: a small number is a
            distance, which is right but for weeks and two-week intervals, whose numbers may be small.

        Examples
        --------
        >>> Words(period="month").time(24230), Words(period="week").time(12, calendar=True), Words().time(-2)
        ('2019-03', 'week 12', '−2')
        """
        number = int(value)
        if not self._dated(number, calendar):
            return signed(number)
        if self.period == "quarter":
            return _("{year} Q{quarter}", year=number // 4, quarter=number % 4 + 1)
        if self.period == "month":
            return _("{year}-{month:02d}", year=number // 12, month=number % 12 + 1)
        if self.numbered:
            return _("{period} {number}", period=_(self.period), number=number)
        return str(number)

    def at(self, value: float, calendar: bool | None = None) -> str:
        """Return when something holds: in a period, or so long before or after the start of training.

        Examples
        --------
        >>> words = Words(period="quarter")
        >>> words.at(8076), words.at(-8), words.at(0)
        ('in 2019 Q1', '8 quarters before training', 'in the quarter training began')
        """
        number = int(value)
        if self._dated(number, calendar):
            return _("in {time}", time=self.time(number, True))
        if number == 0:
            period = _(self.period)
            if self.jobless:
                return _("in the {period} joblessness began", period=period)
            return _("in the {period} training began", period=period)
        if number < 0 and self.jobless:
            return _("{periods} before joblessness", periods=self.periods(-number))
        if number < 0:
            return _("{periods} before training", periods=self.periods(-number))
        return _("{periods} after the start of training", periods=self.periods(number))

    def times(self, values: Sequence[float]) -> str:
        """Return a list of periods; of distances from training, their span."""
        if self.calendar(values):
            return listed([self.time(value, True) for value in values])
        if len(values) == 1:
            return self.at(values[0])
        periods = self.periods(len(values))
        if self.jobless:
            return _("the {periods} before joblessness", periods=periods)
        return _("the {periods} before training", periods=periods)

    def calendar(self, values: Sequence[float]) -> bool:
        """Return whether numbers are periods, and not distances from training, which begin before it.

        Examples
        --------
        >>> Words(period="week").calendar([1, 2]), Words(period="week").calendar([-2, -1, 0, 1]), Words().calendar([-2])
        (True, False, False)
        """
        if self.numbered:
            return all(value > 0 for value in values)
        return any(abs(value) >= _CALENDAR for value in values)


def listed(items: list[str]) -> str:
    """Join words as a sentence does.

    Examples
    --------
    >>> listed(["age", "education", "sex"])
    'age, education and sex'
    """
    comma, last = _(", "), _(" and ")
    return last.join([comma.join(items[:-1]), items[-1]]) if len(items) > 1 else "".join(items)


def _plural(unit: str) -> str:
    return _(_PLURALS.get(unit, unit + "s"))


def in_sentence(title: str) -> str:
    """Return a title as it reads inside a sentence; acronyms keep their capitals.

    Examples
    --------
    >>> in_sentence("Annual earnings"), in_sentence("UI receipt")
    ('annual earnings', 'UI receipt')
    """
    return title[:1].lower() + title[1:] if title[1:2].islower() else title


def sentence(text: str) -> str:
    """Give a clause its capital letter."""
    return text[:1].upper() + text[1:]


def csv(frame: pd.DataFrame) -> str:
    """Return the data behind a figure or table as CSV, six significant digits, the same bytes on every run."""
    return csv_text(frame, "%.6g")
