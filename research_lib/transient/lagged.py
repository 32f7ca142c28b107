"""Estimates along lags, with bands that know of the dependence between steps."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import linalg, stats

from research_lib.checks import number
from research_lib.config import Record
from research_lib.errors import ModelFittingError, ValidationError

Float = NDArray[np.float64]
SUP_T_DRAWS = 10_000
STEPS_A_LAG = 5
GUARD = 0.5


@dataclass(frozen=True, eq=False)
class LagEstimate(Record):
    """A function of the lag, estimated at k lags.

    Attributes
    ----------
    lags : (k,) in `unit`
    values : (k,)
    cov : (k, k)
        Of the estimates, robust to heteroscedasticity and autocorrelation (Bartlett weights).
    n : int
        Steps that they rest on.
    unit : str
        "trades" or "seconds".
    """

    lags: Float
    values: Float
    cov: Float
    n: int
    unit: str

    @property
    def se(self) -> Float:
        """Standard errors, (k,)."""
        return np.sqrt(np.diag(self.cov))

    def conf_int(
        self,
        level: float = 0.95,
        *,
        simultaneous: bool = False,
        rng: np.random.Generator | None = None,
    ) -> tuple[Float, Float]:
        """Lower and upper end at each lag, (k,) each; `simultaneous`: all lags at once (sup-t band).

        The sup-t quantile is simulated with `rng`, by default `numpy.random.default_rng(0)`: the same each time.
        """
        number("level", level, above=0, high=np.nextafter(1, 0))
        width = (
            _sup_t(self.cov, level, rng or np.random.default_rng(0))
            if simultaneous
            else stats.norm.ppf(0.5 + 0.5 * level)
        )
        return self.values - width * self.se, self.values + width * self.se

    def to_frame(self, level: float = 0.95) -> pd.DataFrame:
        """Columns estimate, low, high by lag."""
        low, high = self.conf_int(level)
        index = pd.Index(self.lags, name=f"lag ({self.unit})")
        return pd.DataFrame({"estimate": self.values, "low": low, "high": high}, index=index)

    def scaled(self, factor: float) -> LagEstimate:
        """In another unit of the values: all times `factor`."""
        return LagEstimate(self.lags, factor * self.values, factor**2 * self.cov, self.n, self.unit)


def _sup_t(cov: Float, level: float, rng: np.random.Generator) -> float:
    """Quantile of the largest |t| over the lags, by normal draws."""
    se = np.sqrt(np.diag(cov))
    draws = rng.multivariate_normal(np.zeros(len(se)), cov, SUP_T_DRAWS, method="eigh")
    return float(np.quantile(np.max(np.abs(draws) / se, axis=1), level))


def bandwidth(n: int) -> int:
    """Bartlett bandwidth of Newey and West (1994) for n steps: 4 (n / 100)^(2/9), rounded up."""
    return math.ceil(4.0 * (n / 100.0) ** (2.0 / 9.0))


def long_run_sum(scores: Float, width: int) -> Float:
    """Sum over steps and lags of Bartlett-weighted products of scores (n, k), (k, k): the variance of their sum.

    The weights 1 - |j| / width are those of sums over windows of `width` steps, so no lag is looped over.
    """
    padded = np.concatenate(
        [np.zeros((width, scores.shape[1])), scores, np.zeros((width - 1, scores.shape[1]))]
    )
    running = np.cumsum(padded, axis=0)
    windows = running[width:] - running[:-width]
    return windows.T @ windows / width


def lagged_means(products: list[Float], unit: str, lags: Float, width: int) -> LagEstimate:
    """Means of products by lag, each day an array (n_d, k) with NaN where the lag leaves the day."""
    counts = sum(np.isfinite(day).sum(axis=0) for day in products)
    if np.min(counts) < 2:
        raise ValidationError(
            f"a lag of {len(lags)} steps leaves the data; there are {len(products)} days, ask for less"
        )
    values = sum(np.nansum(day, axis=0) for day in products) / counts
    total = sum(long_run_sum(np.nan_to_num(day - values, nan=0.0), width) for day in products)
    return LagEstimate(lags, values, total / np.outer(counts, counts), int(np.max(counts)), unit)


@dataclass(frozen=True, eq=False)
class LagRegression(Record):
    r"""y_t = a + sum_j sum_k b_jk x_j,t-k + u_t by least squares.

    Attributes
    ----------
    coef : (m, k)
        Of m drives at k lags.
    cov : (m k, m k)
        Robust, of the coefficients drive by drive.
    r2 : float
        Centred.
    n : int
        Rows used.
    """

    coef: Float
    cov: Float
    r2: float
    n: int

    def cumulated(self, drive: int, count: int) -> tuple[Float, Float]:
        """Sums of one drive's coefficients over its first 1 ... count lags, (count,), and their covariance."""
        first = drive * self.coef.shape[1]
        cov = self.cov[first : first + count, first : first + count]
        return np.cumsum(self.coef[drive, :count]), np.cumsum(np.cumsum(cov, axis=0), axis=1)


def change_regression(levels: list[Float], drives: list[Float], count: int) -> LagRegression:
    """Changes y_{t+1} - y_t of levels on drives at lags 0 to 1.5 count: the effects after `count` steps stay clean.

    What is left out beyond the last lag bends the effects next to it, so half as many again are fitted.
    """
    changes = [np.append(np.diff(level), np.nan) for level in levels]
    return lag_regression(changes, drives, count + round(GUARD * count))


def lag_regression(
    targets: list[Float], drives: list[Float], n_lags: int, width: int | None = None
) -> LagRegression:
    """Regress targets on lagged drives, day by day: rows whose lags or target leave the day are dropped.

    Parameters
    ----------
    targets : list of (n_d,), NaN where there is none
    drives : list of (n_d, m)
        Lag 0 is the drive of the target's own row.
    n_lags : int
        k, lags 0 to k - 1.
    width : int, optional
        Of the Bartlett window; `bandwidth` of the number of rows by default.

    Raises
    ------
    ModelFittingError
        Too few rows, or drives that do not vary.
    """
    n_drives = drives[0].shape[1]
    size = 1 + n_drives * n_lags
    rows = [_rows(y, x, n_lags) for y, x in zip(targets, drives, strict=True) if len(y) >= n_lags]
    n = sum(len(y) for y, _ in rows)
    if n < STEPS_A_LAG * size:
        raise ModelFittingError(
            f"{sum(map(len, targets)):,} steps cannot tell {n_drives * n_lags} lagged effects, which need "
            f"{STEPS_A_LAG} steps each beyond the first lags; take fewer lags"
        )
    gram = sum(x.T @ x for _, x in rows)
    try:
        factor = linalg.cho_factor(gram)
    except linalg.LinAlgError as error:
        raise ModelFittingError(
            "the flow does not vary enough to tell its lags apart; take fewer lags"
        ) from error
    beta = linalg.cho_solve(factor, sum(x.T @ y for y, x in rows))
    residuals = [y - x @ beta for y, x in rows]
    window = width or bandwidth(n)
    meat = sum(
        long_run_sum(x * u[:, None], window) for u, (_, x) in zip(residuals, rows, strict=True)
    )
    bread = linalg.cho_solve(factor, np.eye(size))
    cov = (bread @ meat @ bread)[1:, 1:] * n / (n - size)
    left, whole = np.concatenate(residuals), np.concatenate([y for y, _ in rows])
    r2 = 1.0 - float(left @ left / np.sum((whole - whole.mean()) ** 2))
    return LagRegression(beta[1:].reshape(n_drives, n_lags), cov, r2, n)


def _rows(target: Float, drives: Float, n_lags: int) -> tuple[Float, Float]:
    """Targets (r,) and a constant beside their lagged drives, drive by drive, (r, 1 + m k)."""
    windows = np.lib.stride_tricks.sliding_window_view(drives, n_lags, axis=0)[
        :, :, ::-1
    ]  # (n - k + 1, m, k)
    kept = np.isfinite(target[n_lags - 1 :])
    x = windows[kept].reshape(int(kept.sum()), -1)
    return target[n_lags - 1 :][kept], np.column_stack([np.ones(len(x)), x])
