"""Groups whom retraining does not help: the factor of their gains, as SQL. The alternative works for them."""

from __future__ import annotations

from retrain_eval.simulation.parameters import Parameters

LONG_TERM = 4  # quarters without work
DISABILITY = "draw('disability', n, 0) < .08"
_RETRAINING = "tier < 2"  # foundation and transition


def factor(p: Parameters, entry: str) -> str:
    """Return SQL that multiplies the gain of a person, to follow it; empty where no group loses anything.

    Parameters
    ----------
    p : Parameters
    entry : str
        SQL of the quarter of entry, of a row that has ``n, band, tier, lost``.

    Examples
    --------
    >>> factor(Parameters(), "entry")
    ''
    >>> factor(Parameters(no_gain_for=(1.0, 0.0, 0.0)), "entry")
    ' * CASE WHEN tier < 2 AND band = 3 THEN 0.0 ELSE 1 END'
    """
    conditions = ("band = 3", f"{entry} - lost >= {LONG_TERM}", DISABILITY)
    return "".join(
        f" * CASE WHEN {_RETRAINING} AND {condition} THEN {1 - strength} ELSE 1 END"
        for condition, strength in zip(conditions, p.no_gain_for, strict=True)
        if strength
    )
