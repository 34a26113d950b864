"""The tables of the report: HTML that the book's style sheet dresses, with the data for download."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote

import pandas as pd
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from retrain_eval.common.shown import summarised
from retrain_eval.report.html import Html
from retrain_eval.report.language.catalogue import N_, _
from retrain_eval.report.numerals import plain, short_p, signed
from retrain_eval.report.page import Study
from retrain_eval.report.words import WITHHELD, Words, csv, sentence

SUPPRESSED = N_("suppressed")
_MARKS = ("sha256", "fingerprint")  # identify the content of a record file; new editions have no SHA-256


_TEMPLATE = Environment(
    loader=FileSystemLoader(Path(__file__).parent), autoescape=True, undefined=StrictUndefined,
    trim_blocks=True, lstrip_blocks=True,
).get_template("table.html.j2")  # fmt: skip


@summarised
@dataclass(frozen=True)
class Table:
    """A table that a page displays by ending a cell with it.

    Attributes
    ----------
    cells : DataFrame
        The cells as they are printed.
    data : DataFrame
        The same, unrounded; offered for download.
    stub : str, optional
        The column of row headings; by default the first.
    labels : mapping, optional
        Column headings, where they are not the columns' own names.
    left : collection of str
        Columns of words; the others are numbers and are aligned right.
    spanners : mapping, optional
        Headings over several adjacent columns.
    groups : str, optional
        The column whose values head groups of rows.
    code : collection of str
        Columns of file names, hashes and other names that are set as code.
    links : mapping, optional
        For a column, the address that each of its cells links to.
    note : str
        A sentence below the table.
    """

    cells: pd.DataFrame
    data: pd.DataFrame
    stub: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    left: Collection[str] = ()
    spanners: Mapping[str, Sequence[str]] = field(default_factory=dict)
    groups: str | None = None
    code: Collection[str] = ()
    links: Mapping[str, Sequence[str]] = field(default_factory=dict)
    note: str = ""

    def html(self) -> str:
        """Return the table; text in it is escaped."""
        stub = self.stub or str(self.cells.columns[0])
        columns = [stub, *(name for name in self.cells.columns if name not in (stub, self.groups))]
        row_numbers = pd.Series(range(len(self.cells)))
        blocks = [(None, row_numbers)]
        if self.groups:
            blocks = list(row_numbers.groupby(self.cells[self.groups].to_numpy(), sort=False))
        return _TEMPLATE.render(
            columns=columns,
            numbers={column: number for number, column in enumerate(columns)},
            sides={column: "gt_left" if column in (stub, *self.left) else "gt_right" for column in columns},
            headings={column: self.labels.get(column) or _heading(column) for column in columns},
            spanners=self.spanners,
            above={column: heading for heading, covered in self.spanners.items() for column in covered},
            blocks=blocks,
            cells={column: self.cells[column].tolist() for column in columns},
            code=self.code,
            links=self.links,
            note=self.note,
        )

    def _repr_mimebundle_(self, **_: object) -> dict[str, str]:
        return {"text/html": self.html(), "text/csv": csv(self.data)}


# columns that name themselves, and verdicts
_NAMED = (
    N_("Covariate"),
    N_("Step"),
    N_("Test"),
    N_("Statistic"),
    N_("Column"),
    N_("Required"),
    N_("Constraints"),
    N_("Description"),
    N_("Bytes"),
    N_("File"),
    N_("Package"),
    N_("Version"),
    N_("Coefficient"),
    N_("Estimate"),
    N_("Interval"),
    N_("Check"),
    N_("Light"),
)
VERDICTS = (N_("effect"), N_("equivalent to none"), N_("inconclusive"))


def _heading(column: str) -> str:
    """Return a column's name as a heading."""
    return _(sentence(column.replace("_", " ")))


def estimates(
    rows: pd.DataFrame,
    words: Words,
    *,
    key: str = "label",
    heading: str = "",
    groups: str | None = None,
    counts: bool = True,
) -> Table:
    """Tabulate estimates: one row each, with standard error, 95% interval, p-value and, if wanted, counts.

    A suppressed row keeps its place and says why it is empty.
    """
    amount: Callable[[float], str] = words.amount
    shown = pd.DataFrame({key: rows[key]})
    if groups:
        shown[groups] = rows[groups]
    hidden = rows["estimate"].isna()
    shown["estimate"] = ["" if gone else amount(value) for gone, value in zip(hidden, rows["estimate"], strict=True)]
    shown.loc[hidden, "estimate"] = _(SUPPRESSED)
    error = rows["std_error"]
    shown["std_error"] = ["—" if pd.isna(value) else amount(value) for value in error]
    shown["interval"] = [
        "—" if pd.isna(e) else words.interval(low, high)
        for low, high, e in zip(rows["ci_low"], rows["ci_high"], error, strict=True)
    ]
    shown["p"] = [short_p(value) for value in rows["p_value"]]
    for column in ("n_treated", "n_control"):
        if counts and rows[column].notna().any():
            shown[column] = ["—" if pd.isna(value) else f"{int(value):,}" for value in rows[column]]
    labels = {
        key: heading or _("Estimate of"),
        "estimate": _("Estimate"),
        "std_error": _("Std. error"),
        "interval": _("95% interval"),
        "p": _("p‑value"),
        "n_treated": _("Trained"),
        "n_control": _("Controls"),
    }
    data, note = rows.dropna(axis=1, how="all"), few_clusters(rows, key)
    return Table(shown, data, stub=key, labels=labels, groups=groups, note=note)


def event_study(rows: pd.DataFrame, words: Words) -> Table:
    """Tabulate an event study with pointwise intervals and simultaneous bands."""
    rows = rows[rows["event_time"].notna()].sort_values("event_time").reset_index(drop=True)
    fixed = rows["std_error"].isna()
    base = rows.loc[fixed & (rows["event_time"] < 0), "event_time"].max()
    shown = pd.DataFrame(
        {
            "time": [signed(time) for time in rows["event_time"]],
            "estimate": [_(SUPPRESSED) if pd.isna(value) else words.amount(value) for value in rows["estimate"]],
            "std_error": [
                (_("reference") if time == base else "—") if gone else words.amount(error)
                for gone, error, time in zip(fixed, rows["std_error"], rows["event_time"], strict=True)
            ],
            "interval": _intervals(rows, words, "ci"),
            "band": _intervals(rows, words, "band"),
        }
    )
    labels = {
        "time": _("{periods} from start", periods=sentence(words.several)),
        "std_error": _("Std. error"),
        "interval": _("95% interval"),
        "band": _("95% simultaneous band"),
    }
    return Table(shown, rows.dropna(axis=1, how="all"), labels=labels, note=few_clusters(rows))


def few_clusters(rows: pd.DataFrame, key: str = "level") -> str:
    """Say how many clusters standard errors rest on, where they are so few that results have to."""
    numbers = rows["note"].astype("str").str.extract(r"^(\d+) clusters$")[0] if "note" in rows else pd.Series(dtype=str)
    few = numbers.notna() & rows["std_error"].notna()
    if not few.any():
        return ""
    if len(set(numbers[few])) == 1 and few.sum() == rows["std_error"].notna().sum():
        n = int(numbers[few].iloc[0])
        return _("Standard errors rest on {n} clusters: Student's t with {df} degrees of freedom.", n=n, df=n - 1)
    names = rows[key] if key in rows else rows["level"]
    by_level = ", ".join(dict.fromkeys(f"{names[i]} {numbers[i]}" for i in rows.index[few]))
    return _(
        "Clusters that standard errors rest on, where fewer than 30: {by_level}.",
        by_level=by_level,
    )


def _intervals(rows: pd.DataFrame, words: Words, kind: str) -> list[str]:
    lows, highs = rows[f"{kind}_low"], rows[f"{kind}_high"]
    known = lows.notna() & rows["std_error"].notna()
    return [words.interval(a, b) if k else "—" for a, b, k in zip(lows, highs, known, strict=True)]


def flow(frame: pd.DataFrame) -> Table:
    """Tabulate the sample from submitted to analysed: one row per step, a column per group, the reason beside."""
    alone = set(frame["group"]) == {"treated"}
    names = {"treated": _("Number")} if alone else {"treated": _("Trained"), "control": _("Controls")}
    steps = frame.assign(
        reason=frame["reason"].astype("string").fillna(""),
        group=frame["group"].map(lambda group: names.get(group, group)),
    )
    steps["n"] = [WITHHELD if pd.isna(n) else f"{int(n):,}" for n in steps["n"]]
    order = list(dict.fromkeys(steps["step"]))
    shown = pd.DataFrame({"step": order})
    for group in dict.fromkeys([*(name for name in names.values() if name in set(steps["group"])), *steps["group"]]):
        counts = steps[steps["group"] == group].set_index("step")["n"]
        shown[group] = [str(counts.get(step, "—")) for step in order]
    reasons = steps[steps["reason"] != ""].groupby("step")["reason"].agg(lambda texts: "; ".join(dict.fromkeys(texts)))
    shown["reason"] = shown["step"].map(reasons).astype("string").fillna("")
    return Table(
        shown,
        frame,
        labels={"step": _("Step"), "reason": _("Note") if alone else _("Why others left")},
        left=["reason"],
    )


def tests(frame: pd.DataFrame, labels: Mapping[str, str]) -> Table:
    """Tabulate test statistics; editions of before have no test with a denominator."""
    denominators = frame["df_denominator"] if "df_denominator" in frame else [float("nan")] * len(frame)
    shown = pd.DataFrame(
        {
            "groups": [labels.get(name, name) for name in frame["result"]],
            "test": frame["test"].astype(str),
            "statistic": [plain(value, 2) for value in frame["statistic"]],
            "df": [_degrees(*both) for both in zip(frame["df"], denominators, strict=True)],
            "p_value": [short_p(value) for value in frame["p_value"]],
        }
    )
    labels = {"groups": _("Groups compared"), "df": "df", "p_value": _("p‑value")}
    return Table(shown, frame, labels=labels, left=["test"])


def _degrees(df: float, denominator: float) -> str:
    """Write the degrees of freedom of χ², or both of F."""
    return f"{df:g}" if pd.isna(denominator) else f"{df:g}, {denominator:.3g}"


def verdicts(rows: pd.DataFrame, words: Words) -> Table:
    """Tabulate what can be said of each level."""
    needed = [int(n) if pd.notna(n) else 0 for n in rows["n_needed"]]
    shown = pd.DataFrame(
        {
            "label": rows["label"],
            "panel": rows["panel"],
            "verdict": rows["verdict"].map(_),
            "p_romano_wolf": [short_p(value) for value in rows["p_romano_wolf"]],
            "p_equivalence": [short_p(value) for value in rows["p_equivalence"]],
            "mde": [words.amount(value) for value in rows["mde"]],
            "n_treated": [f"{int(n):,}" for n in rows["n_treated"]],
            "n_needed": [f"{n:,}" if n else "—" for n in needed],
        }
    )
    labels = {
        "label": _("Group"),
        "verdict": _("Verdict"),
        "p_romano_wolf": _("p, no effect"),
        "p_equivalence": _("p, matters"),
        "mde": _("Detectable"),
        "n_treated": _("Trained"),
        "n_needed": _("Needed"),
    }
    data = rows.drop(columns=["label", "panel"])
    return Table(shown, data, stub="label", labels=labels, groups="panel", left=("verdict",))


def dictionary(frame: pd.DataFrame) -> Table:
    """Tabulate the columns of one record type."""
    rows = frame.astype("string").fillna("")
    rows["type"] = [kind + (f", {unit}" if unit else "") for kind, unit in zip(rows["type"], rows["unit"], strict=True)]
    rows["required"] = rows["required"].str.lower().map({"true": "yes", "1": "yes"}).fillna("no")
    shown = rows[["column", "type", "required", "constraints", "description"]]
    return Table(
        shown, frame, labels={"type": _("Type and unit")}, left=["type", "required", "constraints", "description"]
    )


def files(study: Study, folder: str) -> Table:
    """Tabulate the files of a bundle with size and SHA-256, each a link to the copy inside the report."""
    listed = {"manifest.json": study.bundle.sha256, **study.bundle.manifest["files"]}
    rows = pd.DataFrame(
        {
            "file": list(listed),
            "bytes": [(study.bundle.path / name).stat().st_size for name in listed],
            "sha256": list(listed.values()),
        }
    )
    shown = rows.assign(
        bytes=[f"{size:,}" for size in rows["bytes"]],
    )
    addresses = [quote(f"{folder}/{name}") for name in rows["file"]]
    return Table(
        shown, rows, labels={"sha256": "SHA-256"}, left=["sha256"], code=["sha256"], links={"file": addresses}
    )


def archive(study: Study) -> Html:
    """Link to the whole bundle as one archive."""
    name = f"{study.bundle.name}-{study.bundle.edition}.zip"
    text = _("The whole bundle as one archive, {name}", name=name)
    return Html(f'<p><a href="release/{study.bundle.name}/{name}" download>{text}</a></p>')


def inputs(study: Study) -> Table:
    """Tabulate the raw files a study read, with a keyed fingerprint where identifiers are hashed."""
    rows = pd.DataFrame(study.bundle.manifest["inputs"])
    shown = rows.assign(**{c: [f"{n:,}" for n in rows[c]] for c in ("rows_in", "rows_rejected")})
    columns, marked = ["name", "file", "rows_in", "rows_rejected"], [name for name in _MARKS if name in rows]
    shown[marked] = rows[marked].fillna("")
    labels = {"name": _("Records"), "rows_in": _("Rows read"), "rows_rejected": _("Rows refused"),
              "sha256": "SHA-256", "fingerprint": _("Keyed fingerprint")}  # fmt: skip
    return Table(shown[[*columns, *marked]], rows, labels=labels, left=["file", *marked], code=marked)


def packages(study: Study) -> Table:
    """Tabulate the versions a study ran with."""
    made = {"Python": study.bundle.manifest["python"], **study.bundle.manifest["packages"]}
    versions = pd.DataFrame({"package": list(made), "version": list(made.values())})
    return Table(versions, versions, left=["version"])


def replication(frame: pd.DataFrame) -> Table:
    """Tabulate one row per coefficient, estimate and standard error of each package."""
    numbers = [column for column in frame.columns if column != "coefficient"]
    shown = frame.assign(**{column: [plain(value) for value in frame[column]] for column in numbers})
    kinds = {column: _("Estimate") if column.endswith("estimate") else _("Std. error") for column in numbers}
    spanners: dict[str, list[str]] = {}
    for column in numbers:
        spanners.setdefault(column.removesuffix(" estimate").removesuffix(" std. error"), []).append(column)
    return Table(shown, frame, labels=kinds, spanners=spanners, code=["coefficient"])
