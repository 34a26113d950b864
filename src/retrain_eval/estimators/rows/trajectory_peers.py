"""Growth models of `retrain_eval.estimators.rows.wage_trajectory` by a second program, pyfixest, as a cross-check."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd

from retrain_eval.common.arrays import Floats, Ints
from retrain_eval.common.errors import DesignError
from retrain_eval.estimators.rows.regression import _feols

PEER_MODELS = ("fixed", "first_differences")  # pyfixest has no random effects


def fit_pyfixest(
    unit: Ints, time: Ints, outcome: Floats, cluster: Ints, design: Mapping[str, Floats], model: str, vce: str
) -> tuple[Floats, Floats, float, int]:
    """Return coefficients, covariance, degrees of freedom and rows used, as `wage_trajectory` needs them.

    Parameters
    ----------
    unit, time, outcome, cluster : ndarray, shape (N,)
        Rows in the order (unit, time).
    design : mapping of str → ndarray, shape (N,)
        Regressors by name.
    model : {"fixed", "first_differences"}
    vce : {"cluster", "unadjusted"}

    Notes
    -----
    CR1 with the factor of linearmodels, G/(G−1) · (N−1)/(N−K), where K counts no unit effects; differences are taken
    between adjacent periods here, since pyfixest has none.
    """
    import pyfixest as pf

    own = {f"x{i}": values for i, values in enumerate(design.values())}
    rows = pd.DataFrame({"y": outcome, **own})
    effects = " | unit"
    if model == "first_differences":
        adjacent = np.r_[False, (np.diff(unit) == 0) & (np.diff(time) == 1)]
        rows, effects = rows.diff()[adjacent], ""
        unit, cluster = unit[adjacent], cluster[adjacent]
    rows = rows.assign(unit=unit, cluster=cluster).reset_index(drop=True)
    if vce == "cluster" and rows["cluster"].nunique() < 3:
        raise DesignError(
            f"{rows['cluster'].nunique()} clusters are too few for a standard error",
            public="there are too few clusters for a standard error",
        )
    constant = "" if effects else " - 1"
    try:
        fit = _feols(
            f"y ~ {' + '.join(own)}{constant}{effects}",
            data=rows,
            vcov={"CRV1": "cluster"} if vce == "cluster" else "iid",
            ssc=pf.ssc(k_adj=True, G_adj=True, k_fixef="none" if vce == "cluster" else "full"),
            fixef_rm="none",
        )
    except (ValueError, np.linalg.LinAlgError, ZeroDivisionError) as error:
        raise DesignError(
            f"the {model} model cannot be estimated: {error}", public="the model cannot be estimated from these records"
        ) from error
    found = list(fit._coefnames)
    if lost := [name for name, column in zip(design, own, strict=True) if column not in found]:
        raise DesignError(f"the {model} model cannot be estimated: {', '.join(lost)} is collinear with the others")
    order = [found.index(column) for column in own]
    vcov = np.asarray(fit._vcov)[np.ix_(order, order)]
    if not np.isfinite(vcov).all():
        raise DesignError(
            f"the {model} model has no finite covariance: too few units or no variation is left",
            public="the model cannot be estimated: too few units or no variation is left",
        )
    n_units = rows["unit"].nunique() if effects else 0
    df = rows["cluster"].nunique() - 1 if vce == "cluster" else len(rows) - n_units - len(own)
    return np.asarray(fit._beta_hat)[order], vcov, float(df), len(rows)
