"""The few pieces of the report that are neither figure nor table: finding cards and key counts, as plain HTML."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from retrain_eval.report.findings import Finding
from retrain_eval.report.language.catalogue import _


@dataclass(frozen=True)
class Html:
    """A piece of the page, displayed by ending a cell with it."""

    text: str

    def _repr_html_(self) -> str:
        return self.text


def finding_cards(findings: Sequence[Finding]) -> Html:
    """Return each finding with its number, its interval, and what it does not show."""
    cards = []
    ninety_five, caveat = escape(_("95% interval")), escape(_("What this does not show."))
    for finding in findings:
        interval = f"{ninety_five}<br>{escape(finding.interval)}" if finding.interval else ""
        interval = f'<span class="interval">{interval}</span>' if interval else ""
        cards.append(
            '<section class="finding">'
            f"<h2>{escape(finding.question)}</h2>"
            f'<p class="figure"><span class="number">{escape(finding.number)}</span>'
            f'<span class="measure">{escape(finding.measure)}</span>{interval}</p>'
            f'<div><p class="statement">{escape(finding.statement)}</p>'
            f'<p class="caveat"><strong>{caveat}</strong> {escape(finding.caveat)}</p></div>'
            "</section>"
        )
    return Html(f'<div class="findings">{"".join(cards)}</div>')


def key_counts(counts: Sequence[tuple[str, str]]) -> Html:
    """Return numbers to remember, each over its name."""
    items = "".join(f"<li><strong>{escape(number)}</strong>{escape(name)}</li>" for number, name in counts)
    return Html(f'<ul class="counts">{items}</ul>')
