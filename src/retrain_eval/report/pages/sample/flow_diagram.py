"""The sample flow as a diagram: a lane of boxes per group, from submitted to analysed, with each loss and its reason.

Drawn as SVG without a plotting library, because it consists of text: on a wide page the lanes are side by side, on a
phone one below the other, both at reading size. A withheld count is marked, and so is a loss that would reveal it.
"""

from __future__ import annotations

import textwrap
from dataclasses import dataclass
from html import escape
from typing import Any

import pandas as pd

from retrain_eval.common.shown import summarised
from retrain_eval.estimators.figures.pieces import BLUE, GREY, INK, RULE, VERMILION
from retrain_eval.report.drawing import FONTS, NARROW
from retrain_eval.report.language.catalogue import N_, _
from retrain_eval.report.numerals import MINUS
from retrain_eval.report.words import WITHHELD, csv

LANE, GAP = 356, 36  # width of a lane and the space between two
BOX, LINE, PAD = 40, 18, 9  # height of a box, of a line of text, and the space around losses
SIZE, CHARACTER = 14, 6.9  # of text, and about how wide a character is
_NAMES = {"treated": N_("Trained"), "control": N_("Possible controls")}
_COLOURS = {"treated": BLUE, "control": VERMILION}


@dataclass(frozen=True)
class Step:
    """One box of a lane.

    Attributes
    ----------
    name : str
    n : float
        How many are left; NaN where withheld.
    lost : float, optional
        How many left since the box above; NaN where withheld, None in the first box and where no one did.
    reason : str
    """

    name: str
    n: float
    lost: float | None
    reason: str

    @property
    def count(self) -> str:
        """The number in the box."""
        return WITHHELD if pd.isna(self.n) else f"{int(self.n):,}"

    @property
    def loss(self) -> str:
        """The text between the box above and this one; empty where no one was lost."""
        if self.lost is None:
            return ""
        if pd.isna(self.lost):
            return _("number {withheld}", withheld=_(WITHHELD)) + (f": {self.reason}" if self.reason else "")
        sign = MINUS if self.lost > 0 else "+"
        return f"{sign}{abs(int(self.lost)):,}" + (f" {self.reason}" if self.reason else "")


def lanes(flow: pd.DataFrame) -> dict[str, list[Step]]:
    """Return the steps of each group, in the order of the table.

    Examples
    --------
    >>> flow = pd.DataFrame({"step": ["In", "Matched"], "group": "treated", "n": [185, 183], "reason": ["", "x"]})
    >>> [(step.count, step.loss) for step in lanes(flow)["treated"]]
    [('185', ''), ('183', '−2 x')]
    """
    found: dict[str, list[Step]] = {}
    for group, rows in flow.groupby("group", sort=False):
        steps: list[Step] = []
        counts = rows["n"].astype("Float64").to_numpy(dtype=float, na_value=float("nan"))
        reasons = rows["reason"].astype("string").fillna("")
        for name, n, reason in zip(rows["step"], counts, reasons, strict=True):
            lost = steps[-1].n - float(n) if steps else None
            steps.append(Step(str(name), float(n), None if lost == 0 else lost, str(reason)))
        found[str(group)] = steps
    return found


@summarised
@dataclass(frozen=True)
class FlowDiagram:
    """A diagram that a page displays by ending a cell with it.

    Attributes
    ----------
    flow : DataFrame
        ``step, group, n, reason`` as released.
    """

    flow: pd.DataFrame

    @property
    def alt(self) -> str:
        """The flow in words."""
        alone = len(lanes(self.flow)) == 1
        parts = []
        for group, steps in lanes(self.flow).items():
            boxes = [f"{step.name} {step.count}" + (f" ({step.loss})" if step.loss else "") for step in steps]
            parts.append(("" if alone else f"{_(_NAMES.get(group, group))}: ") + "; ".join(boxes) + ".")
        return _("Sample flow. ") + " ".join(parts)

    def svg(self, narrow: bool = False) -> str:
        """Return the drawing."""
        every = lanes(self.flow)
        if narrow:
            parts: list[str] = []
            top = 0.0
            for group, steps in every.items():
                drawn, bottom = _lane(group, steps, 0.0, top, _heights([steps]), heading=len(every) > 1)
                parts, top = parts + drawn, bottom + GAP
            width, height = LANE, top - GAP
        else:
            heights = _heights(list(every.values()))
            made = [
                _lane(group, steps, place * (LANE + GAP), 0.0, heights, heading=len(every) > 1)
                for place, (group, steps) in enumerate(every.items())
            ]
            parts = [part for drawn, _ in made for part in drawn]
            # one lane alone is drawn as large as one of two
            width, height = 2 * LANE + GAP, max(bottom for _i, bottom in made)
        return (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="-1 -1 {width + 2} {height + 2:g}" width="{width + 2}" '
            f'height="{height + 2:g}" font-family="{FONTS}" font-size="{SIZE}" fill="{INK}">{"".join(parts)}</svg>'
        )

    def _repr_mimebundle_(self, **_: Any) -> tuple[dict[str, Any], dict[str, Any]]:
        data = {"image/svg+xml": self.svg(), NARROW: {"svg": self.svg(narrow=True)}, "text/csv": csv(self.flow)}
        return data, {"image/svg+xml": {"alt": self.alt}}


def _wrapped(text: str, width: float) -> list[str]:
    return textwrap.wrap(text, int(width / CHARACTER)) or [""]


def _name(step: Step) -> list[str]:
    return _wrapped(step.name, LANE - 40 - 9 * len(step.count))


def _heights(every: list[list[Step]]) -> list[tuple[float, float]]:
    """Return, for each row of boxes, the space above it and its height, the same in all lanes."""
    rows = []
    for i in range(max(map(len, every))):
        steps = [steps[i] for steps in every if i < len(steps)]
        losses = max(len(_wrapped(step.loss, LANE - 44)) if step.loss else 0 for step in steps)
        lines = max(len(_name(step)) for step in steps)
        rows.append((0.0 if i == 0 else max(26.0, 2 * PAD + LINE * losses), BOX + LINE * (lines - 1.0)))
    return rows


def _lane(
    group: str, steps: list[Step], x: float, top: float, heights: list[tuple[float, float]], *, heading: bool
) -> tuple[list[str], float]:
    """Return the elements of a lane and where it ends."""
    colour, parts, y = _COLOURS.get(group, GREY), [], top
    if heading:
        name = escape(_(_NAMES.get(group, group)))
        parts.append(f'<text x="{x:g}" y="{y + 14:g}" font-weight="600" fill="{colour}">{name}</text>')
        y += 26
    for i, (step, (above, height)) in enumerate(zip(steps, heights, strict=False)):
        if i:
            parts.append(_arrow(x + 20, y + 2, y + above - 3))
            for line, text in enumerate(_wrapped(step.loss, LANE - 44) if step.loss else []):
                at = y + PAD + LINE * line + 13
                parts.append(f'<text x="{x + 40:g}" y="{at:g}" fill="{GREY}">{escape(text)}</text>')
            y += above
        last = i == len(steps) - 1
        parts.append(
            f'<rect x="{x:g}" y="{y:g}" width="{LANE}" height="{height:g}" rx="3" fill="#ffffff" '
            f'stroke="{colour if last else RULE}" stroke-width="{2 if last else 1.2}"/>'
        )
        for line, text in enumerate(_name(step)):
            parts.append(f'<text x="{x + 12:g}" y="{y + 25 + LINE * line:g}">{escape(text)}</text>')
        parts.append(
            f'<text x="{x + LANE - 12:g}" y="{y + 25:g}" text-anchor="end" font-weight="600">{step.count}</text>'
        )
        y += height
    return parts, y


def _arrow(x: float, y0: float, y1: float) -> str:
    return (
        f'<path d="M{x:g} {y0:g}V{y1:g}M{x - 4:g} {y1 - 5:g}L{x:g} {y1:g}L{x + 4:g} {y1 - 5:g}" fill="none" '
        f'stroke="{GREY}" stroke-width="1.3"/>'
    )
