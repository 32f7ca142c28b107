"""Schedules: shares by interval, and the benchmarks TWAP, VWAP and POV."""

import logging
import math
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
from scipy.special import ndtri

from research_lib.checks import ArrayLike, Float, number, numbers, per_interval
from research_lib.config import Record
from research_lib.errors import ValidationError

ROUNDING = 1e-9
logger = logging.getLogger(__name__)


class Split(Record):
    """Shares by interval as table and plot."""

    shares: Float

    def to_frame(self) -> pd.DataFrame:
        """Index interval; columns shares, part_% of the order, left: shares still to trade after
        it.
        """
        part = 100.0 * self.shares / (self.shares.sum() or 1.0)
        columns = {"shares": self.shares, "part_%": part, "left": left_to_trade(self.shares)[1:]}
        return pd.DataFrame(columns, pd.RangeIndex(len(part), name="interval"))


@dataclass(frozen=True, eq=False)
class Schedule(Split):
    """Shares of each child order.

    Attributes
    ----------
    shares : (n,) shares
        Finite, at least 0; the side belongs to the order.
    name : str
        Name in reports and legends.
    unfilled : float
        Shares of the order that are not in the schedule.

    Examples
    --------
    >>> Schedule([300, 100, 200], "by hand")
    Schedule(name=by hand, unfilled=0, shares=array (3,), 100 to 300)
    """

    shares: Float
    name: str
    unfilled: float = field(default=0.0, kw_only=True)

    def __post_init__(self) -> None:
        object.__setattr__(self, "shares", _at_least_zero("scheduled shares", self.shares))


@dataclass(frozen=True, eq=False)
class ModelledSchedule(Schedule):
    """A schedule with the expected cost and variance of its model.

    Attributes
    ----------
    shares : (n,) or (n, m) shares
        Sold in each interval, of each of m assets; negative is bought.
    expected_cost : float
        Currency, against the arrival price.
    variance : float
        Of the cost, currency**2.
    """

    expected_cost: float
    variance: float

    def __post_init__(self) -> None:
        """Shares may have any sign and were checked before."""

    @cached_property
    def holdings(self) -> Float:
        """Shares left to trade before each interval and, 0, at the end: (n + 1,) or (n + 1, m)."""
        return left_to_trade(self.shares)

    def value_at_risk(self, p: float = 0.95) -> float:
        r"""Cost that is not exceeded with probability p: :math:`E + \Phi^{-1}(p) \sqrt V`,
        currency (equation 22).
        """
        if not 0 < number("p", p) < 1:
            raise ValidationError(f"p must be below 1 and above 0, got {p!r}")
        return float(self.expected_cost + ndtri(p) * math.sqrt(self.variance))


def left_to_trade(shares: Float) -> Float:
    """Shares before each trade and, 0, after the last, (n, ...) to (n + 1, ...).

    Summed from the end, so that small holdings keep all digits.
    """
    left = np.zeros((len(shares) + 1, *shares.shape[1:]))
    np.cumsum(shares[::-1], axis=0, out=left[-2::-1])
    return left


def twap(total_shares: float, n_intervals: int) -> Schedule:
    """Equal shares in every interval, total_shares / n_intervals each.

    Examples
    --------
    >>> twap(600, 3).shares.tolist()
    [200.0, 200.0, 200.0]
    """
    n = number("n_intervals", n_intervals, 1, integer=True)
    return Schedule(np.full(n, number("total_shares", total_shares, 0) / n), "TWAP")


def vwap(total_shares: float, volume: ArrayLike) -> Schedule:
    """Shares in proportion to the volume expected in each interval.

    Parameters
    ----------
    total_shares : float
    volume : (n,) shares
        Known before the order, such as that of earlier days. Its unit does not matter.

    Raises
    ------
    ValidationError
        A volume that is negative or not finite, or none in any interval.

    Examples
    --------
    >>> vwap(600, [100, 300, 200]).shares.tolist()
    [100.0, 300.0, 200.0]
    """
    expected, total = _traded(volume), number("total_shares", total_shares, 0)
    return Schedule(total * expected / expected.sum(), "VWAP")


def pov(total_shares: float, volume: ArrayLike, rate: float) -> Schedule:
    r"""A fixed rate of the volume expected in each interval, from the first on until the order is
    complete.

    .. math:: x_t = \min(r V_t, S - \sum_{s<t} x_s)

    Parameters
    ----------
    total_shares : float
        S, shares.
    volume : (n,) shares
        V_t, the volume of all others, known before the order.
    rate : float
        r above 0, own shares per share of the others.

    Returns
    -------
    Schedule
        Its `unfilled` is the part of the order that the rate does not admit; it is logged.

    Raises
    ------
    ValidationError
        A volume that is negative, not finite or 0 everywhere.

    Examples
    --------
    >>> pov(50, [100, 300, 200], rate=0.1).shares.tolist()
    [10.0, 30.0, 10.0]
    """
    expected, total = _traded(volume), number("total_shares", total_shares, 0)
    admitted = number("rate", rate, above=0) * np.cumsum(expected)
    unfilled = total - float(admitted[-1])
    if unfilled <= 1e-12 * total:
        unfilled = 0.0
    else:
        known = f"a rate of {rate:g} admits {admitted[-1]:,.6g} of {total:,.6g} shares"
        logger.warning(f"{known}; raise it to {total / expected.sum():.3g} or lengthen the horizon")
    shares = np.maximum(np.diff(np.minimum(admitted, total), prepend=0.0), 0.0)
    return Schedule(shares, "POV", unfilled=unfilled)


def _traded(volume: ArrayLike) -> Float:
    array = _at_least_zero("volume", volume)
    if not array.sum() > 0:
        raise ValidationError(f"volume is 0 in all of {len(array)} intervals: nothing is traded")
    return array


def _at_least_zero(name: str, values: Any) -> Float:
    array = numbers(name, values)
    if array.ndim != 1 or not array.size:
        what = f"got shape {array.shape}: {str(values)[:60]}"
        raise ValidationError(f"{name} must be (n,), finite and at least 0, {what}")
    return per_interval(name, values, len(array))  # a Series in the order of its labels
