"""Groups (intervals or buckets) with too few observations take those of their neighbours, and say so."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from research_lib.config import Record
from research_lib.errors import ModelFittingError
from research_lib.impact.samples import Sample, Spreads

Float = NDArray[np.float64]
Index = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Borrowed(Record):
    """From which groups each group takes its observations.

    Attributes
    ----------
    first, last : (G,)
        Each group uses the rows of groups first to last, itself where they are equal to it.
    widened : list of int
        Groups that had too few observations or distinct sizes.
    pooled : list of int
        Groups after the last observed one, which take all rows.
    """

    first: Index
    last: Index
    widened: list[int]
    pooled: list[int]

    @property
    def overlap(self) -> int:
        """Groups up to this many apart may share rows; those that take all rows left out."""
        index = np.arange(len(self.first))
        own = ~np.isin(index, self.pooled)
        return int(2 * np.max(np.maximum(index - self.first, self.last - index)[own], initial=0))

    def rows(self, interval: Index, n_intervals: int) -> tuple[Index, Index]:
        """Group and row of every use of a row, for the (m,) intervals of the rows."""
        n_groups = len(self.first)
        own = interval * n_groups // n_intervals
        special = np.flatnonzero(
            (self.first != np.arange(n_groups)) | (self.last != np.arange(n_groups))
        )
        kept = np.flatnonzero(~np.isin(own, special))
        groups, rows = [own[kept]], [kept]
        for g in special:
            taken = np.flatnonzero((own >= self.first[g]) & (own <= self.last[g]))
            groups.append(np.full(len(taken), g))
            rows.append(taken)
        return np.concatenate(groups), np.concatenate(rows)

    def half_spread(self, spreads: Spreads, n_intervals: int) -> tuple[Float, Float]:
        """Mean half-spread of each group and its standard error, (G,) each; of all books chosen, censored or not."""
        n_groups = len(self.first)
        own = spreads.interval * n_groups // n_intervals
        mean, error = spreads.by_group(own, n_groups)
        for g in np.flatnonzero(~np.isfinite(mean)):
            taken = spreads.take((own >= self.first[g]) & (own <= self.last[g]))
            one = taken.by_group(np.zeros(len(taken.n), np.int64), 1)
            mean[g], error[g] = one[0][0], one[1][0]
        return mean, error


def borrow(sample: Sample, n_groups: int, minimum: int, n_coefficients: int) -> Borrowed:
    """Widen groups with fewer than `minimum` filled rows or fewer distinct sizes than coefficients.

    Raises
    ------
    ModelFittingError
        If all rows together are too few, or have too few sizes.
    """
    rows = sample.rows
    filled = ~rows.censored
    own = sample.interval * n_groups // sample.n_intervals
    count = np.bincount(own[filled], rows.n[filled], n_groups)
    shown = np.zeros((n_groups, len(rows.sizes)), bool)
    shown[own[filled], rows.size[filled]] = True
    _require_determined(
        int(count.sum()), int(shown.any(axis=0).sum()), minimum, n_coefficients, sample.n_intervals
    )
    index = np.arange(n_groups)
    first, last = index.copy(), index.copy()
    observed = int(np.flatnonzero(count)[-1])
    lacking = (count < minimum) | (shown.sum(axis=1) < n_coefficients)
    for g in np.flatnonzero(lacking[: observed + 1]):
        for reach in range(1, n_groups):
            low, high = max(int(g) - reach, 0), min(int(g) + reach, observed)
            enough = count[low : high + 1].sum() >= minimum
            if enough and shown[low : high + 1].any(axis=0).sum() >= n_coefficients:
                break
        first[g], last[g] = low, high
    first[observed + 1 :], last[observed + 1 :] = 0, observed
    pooled = index[observed + 1 :].tolist()
    return Borrowed(first, last, np.flatnonzero(lacking[: observed + 1]).tolist(), pooled)


def _require_determined(
    count: int, sizes: int, minimum: int, n_coefficients: int, n_intervals: int
) -> None:
    needed = max(minimum, n_coefficients + 1)
    if count < needed:
        raise ModelFittingError(
            f"{count} uncensored training observations for intervals 0 to {n_intervals - 1}, "
            f"at least {needed} are needed; add snapshots, use smaller trade sizes or lower min_observations"
        )
    if sizes < n_coefficients:
        raise ModelFittingError(
            f"{sizes} distinct trade size does not determine {n_coefficients} coefficients; add trade sizes"
        )
