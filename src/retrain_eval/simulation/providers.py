"""Providers of training: who trains whom, and how much better or worse each does than the average provider.

The default is six providers that share the 18 programmes and do not differ.
"""

from __future__ import annotations

from retrain_eval.simulation.parameters import Parameters

SHARING = 6  # so many providers share the programmes: programme k is that of provider k % 6


def provider_sql(p: Parameters) -> str:
    """Return SQL of the number of a person's provider, of ``programme`` and ``n``."""
    if p.providers == SHARING:
        return f"programme % {SHARING}"
    return f"CAST(floor(draw('provider', n, 0) * {p.providers}) AS INTEGER)"


def gain_sql(p: Parameters) -> str:
    """Return SQL of what a person's provider adds to the factor of gains, to follow a sum; nothing where none differ.

    Examples
    --------
    >>> gain_sql(Parameters()), gain_sql(Parameters(provider_sd=0.5))
    ('', " + 0.5 * normal('provider gain', programme % 6, 0)")
    """
    return f" + {p.provider_sd} * normal('provider gain', {provider_sql(p)}, 0)" if p.provider_sd else ""


def name_sql(providers: int, number: str) -> str:
    """Return SQL of a provider's name, from SQL of its number."""
    if providers == SHARING:
        return f"'Provider ' || chr(65 + CAST({number} AS INTEGER))"
    return f"'Provider ' || lpad(CAST({number} + 1 AS VARCHAR), 3, '0')"


def programme_id_sql(providers: int, programme: str, provider: str) -> str:
    """Return SQL of the identifier of a programme of a provider, from SQL of both numbers."""
    own = "" if providers == SHARING else f" || '-' || lpad(CAST({provider} + 1 AS VARCHAR), 3, '0')"
    return f"'P' || lpad({programme}::VARCHAR, 2, '0'){own}"


def programmes_sql(providers: int) -> str:
    """Return SQL of a row per programme of a provider: ``k``, the programme, and ``j``, the provider."""
    if providers == SHARING:
        return f"(SELECT k, k % {SHARING} AS j FROM range(18) AS t(k))"
    return f"(SELECT k, j FROM range(18) AS t(k), range({providers}) AS u(j))"
