"""The few pieces of the report that are neither figure nor table: finding cards and key counts, as plain HTML."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from IPython.display import HTML

from retrain_eval.report.findings import Finding


def finding_cards(findings: Sequence[Finding]) -> HTML:
    """Return each finding with its number, its interval, and what it does not show."""
    cards = []
    for finding in findings:
        interval = (
            f'<span class="interval">95% interval<br>{escape(finding.interval)}</span>' if finding.interval else ""
        )
        cards.append(
            '<section class="finding">'
            f"<h2>{escape(finding.question)}</h2>"
            f'<p class="figure"><span class="number">{escape(finding.number)}</span>{interval}</p>'
            f'<div><p class="statement">{escape(finding.statement)}</p>'
            f'<p class="caveat"><strong>What this does not show.</strong> {escape(finding.caveat)}</p></div>'
            "</section>"
        )
    return HTML(f'<div class="findings">{"".join(cards)}</div>')


def key_counts(counts: Sequence[tuple[str, str]]) -> HTML:
    """Return numbers to remember, each over its name."""
    items = "".join(f"<li><strong>{escape(number)}</strong>{escape(name)}</li>" for number, name in counts)
    return HTML(f'<ul class="counts">{items}</ul>')
