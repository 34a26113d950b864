"""Numbers as a reader meets them: a true minus sign, percentages, p-values."""

from __future__ import annotations

import pandas as pd

from retrain_eval.report.language.catalogue import _

MINUS = "\N{MINUS SIGN}"
NBSP = "\N{NO-BREAK SPACE}"


def signed(time: float) -> str:
    """Return an event time with its sign.

    Examples
    --------
    >>> [signed(time) for time in (-2.0, 0.0, 1.0)]
    ['−2', '0', '+1']
    """
    return f"{time:+g}".replace("-", MINUS) if time else "0"


def percent(value: float, digits: int = 0) -> str:
    """Return a share as a percentage.

    Examples
    --------
    >>> percent(0.054, 1), percent(-0.5)
    ('5.4%', '−50%')
    """
    return f"{value:.{digits}%}".replace("-", MINUS)


def plain(value: float, digits: int = 3) -> str:
    """Return a number with a fixed count of decimals and a true minus sign."""
    return _("not available") if pd.isna(value) else f"{value:,.{digits}f}".replace("-", MINUS)


def p_value(value: float) -> str:
    """Return a p-value the way journals print it.

    Examples
    --------
    >>> [p_value(value).replace(NBSP, " ") for value in (0.0000021, 0.0416)]
    ['p < 0.001', 'p = 0.042']
    """
    return (
        _("p not available")
        if pd.isna(value)
        else f"p{NBSP}<{NBSP}0.001"
        if value < 0.001
        else f"p{NBSP}={NBSP}{value:.3f}"
    )


def short_p(value: float) -> str:
    """Return a p-value as a column of p-values prints it.

    Examples
    --------
    >>> short_p(0.0416), short_p(float("nan"))
    ('0.042', '—')
    """
    return "—" if pd.isna(value) else p_value(value).removeprefix(f"p{NBSP}").removeprefix(f"={NBSP}")


def tiny(value: float) -> str:
    """Return a difference between two programs, or that there is next to none.

    Examples
    --------
    >>> tiny(0.00123), tiny(1e-9)
    ('0.0012', 'less than a millionth')
    """
    return _("less than a millionth") if abs(value) < 1e-6 else f"{value:.2g}"
