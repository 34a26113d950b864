"""Every combination of options beside another implementation, on two real panels and a simulated one."""

from __future__ import annotations

import pandas as pd
import pytest

import did_panels


@pytest.mark.oracle
@pytest.mark.parametrize("panel", did_panels.PANELS)
def test_every_option_equals_moderndid(panel: str) -> None:
    """48 combinations with and without covariates: 1e-7 relative in estimate and standard error (seen: 3e-9).

    moderndid 0.4.1 equals R `did` on balanced panels to 5e-11; `benchmarks/agreement.py` made the figures.
    """
    figures = pd.read_parquet(did_panels.FIGURES)
    figures = figures[figures["panel"] == panel]
    assert figures.groupby(did_panels.OPTIONS).ngroups == 96
    for key, block in figures.groupby(did_panels.OPTIONS, sort=False):
        both = did_panels.beside(dict(zip(did_panels.OPTIONS, key, strict=True)), block)
        assert not both[["estimate", "estimate_peer"]].isna().any(axis=None), key
        assert did_panels.largest(both, "estimate") < 1e-7, key
        assert did_panels.largest(both, "std_error") < 1e-7, key
