"""What a fit returns."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from research_lib.config import Record
from research_lib.impact.curves import ImpactCurve
from research_lib.impact.estimation import Estimate
from research_lib.impact.shrinkage import Shrinkage

Float = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class ImpactFit(Record):
    """One fitted impact curve an interval.

    Attributes
    ----------
    model_type : str
    curve : ImpactCurve
        Fitted on all observations given, shrunk: what an allocation should use.
    raw_curve : ImpactCurve
        The same without shrinkage: the coefficients of `params`.
    shrinkage : dict of Shrinkage
        For "impact" and "half_spread": how much of each interval's own estimate the curve keeps.
    params : DataFrame, index interval
        Coefficients and the measured half_spread, before shrinkage.
    bse : DataFrame, as params
        Standard errors; NaN where a coefficient sits at its bound of 0, or one cluster
        (day or snapshot) measured it.
    cov : (n, p, p)
        Covariance of the coefficients (half_spread left out); NaN as in `bse`.
    dof : (n,)
        Degrees of freedom of the t intervals.
    observations : DataFrame, one row a row of the slippage frame, same order
        interval, trade_size, observed and predicted slippage (currency per share),
        residual_bps (observed - predicted, of the mid), impact and predicted_impact
        (beyond the touch, currency per share), sample ("train", "test" or "censored").
        Predicted by the curve of the training rows, which is `curve` if there is no test.
        Of moments: one row a sum, its means, and n.
    metrics : dict
        For train and test: _r2, _rmse_bps, _impact_r2, _observations.
        r2 is 1 - SSE / SST of avg_slippage as predicted (half-spread + impact) about the
        evaluated set's own mean, censored rows left out; impact_r2 the same for the impact
        alone, each book's own half-spread given. NaN where there is no test set.
    diagnostics : dict
        censored (rows), widened and pooled (intervals that borrowed observations), bounded
        (intervals with a coefficient held at 0), fell_back (intervals whose power law did
        not converge and is linear), errors (what was taken as independent), completion
        (how censored rows entered), largest_size
        (n,) shares (the largest uncensored size that each interval's fit saw).
    warnings : tuple of str
    information : str
        What the curve was fitted on, and what the metrics were fitted and tested on.
    estimate : Estimate
        The coefficients as functions of size, by interval.
    """

    model_type: str
    curve: ImpactCurve
    raw_curve: ImpactCurve
    shrinkage: dict[str, Shrinkage]
    params: pd.DataFrame
    bse: pd.DataFrame
    cov: Float
    dof: Float
    observations: pd.DataFrame
    metrics: dict[str, float]
    diagnostics: dict[str, Any]
    warnings: tuple[str, ...]
    information: str
    estimate: Estimate

    def conf_int(self, alpha: float = 0.05) -> tuple[pd.DataFrame, pd.DataFrame]:
        """Lower and upper ends of the 1 - alpha t intervals, each shaped as `params`."""
        reach = self.bse.mul(self._quantile(alpha), axis=0)
        return self.params - reach, self.params + reach

    def band(self, sizes: ArrayLike, interval: int, alpha: float = 0.05) -> pd.DataFrame:
        r"""Slippage of one interval at (k,) sizes with its 1 - alpha confidence band, before shrinkage.

        .. math:: g_t(x) \pm t_{\alpha/2} \sqrt{se(h_t)^2 + J(x)' V_t J(x)}

        Returns
        -------
        DataFrame, index size
            slippage, lower, upper, currency per share; the band is NaN where `bse` is.
        """
        size = np.atleast_1d(np.asarray(sizes, float))
        where = np.full(len(size), interval)
        error = self.estimate.standard_error(where, size, self.cov)
        spread_error = np.nan_to_num(self.bse["half_spread"].iloc[interval])
        reach = self._quantile(alpha)[interval] * np.hypot(error, spread_error)
        slippage = self.params["half_spread"].iloc[interval] + self.estimate.impact(where, size)
        table = pd.DataFrame(
            {"slippage": slippage, "lower": slippage - reach, "upper": slippage + reach}
        )
        return table.set_axis(pd.Index(size, name="size"))

    def summary(self) -> str:
        """Text table: the coefficients' quartiles over the intervals, the metrics, what was known."""
        quartiles = self.params.describe().loc[["min", "25%", "50%", "75%", "max"]]
        lines = [
            f"{self.model_type} impact, {len(self.curve)} intervals",
            self.information,
            quartiles.to_string(float_format=lambda v: f"{v:.3g}"),
            "  ".join(f"{name} {value:.3g}" for name, value in self.metrics.items()),
            f"standard errors: {self.diagnostics['errors']}",
            *self._censoring(),
            *(f"shrinkage of {name}: {s.summary()}" for name, s in self.shrinkage.items()),
            *(f"warning: {warning}" for warning in self.warnings),
        ]
        return "\n".join(lines)

    def _censoring(self) -> list[str]:
        censored = self.diagnostics["censored"]
        return [f"{censored:,} censored rows: {self.diagnostics['completion']}"] if censored else []

    def _quantile(self, alpha: float) -> Float:
        from scipy import stats

        return np.asarray(stats.t.ppf(1 - alpha / 2, self.dof))
