"""The price path that a schedule leaves: temporary, transient and permanent displacement."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from research_lib.checks import number, numbers
from research_lib.config import Record
from research_lib.errors import ValidationError
from research_lib.impact import Kernel, at_lags, kernel_matrix, trade_times
from research_lib.impact.kernels import displaced, evenly_spaced

Float = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class PricePath(Record):
    """What a schedule does to the price, all arrays (n,), prices relative to the untouched mid.

    Attributes
    ----------
    times : unit of time of the kernel
    shares : signed, a buy is positive
    before, after : currency per share
        Displacement of the mid just before and just after each trade.
    paid : currency per share
        Average price of each trade: half of its own displacement, and its temporary part.
    transient_cost, permanent_cost, temporary_cost : currency
        Parts of sum_i shares_i paid_i.
    """

    times: Float
    shares: Float
    before: Float
    after: Float
    paid: Float
    transient_cost: float
    permanent_cost: float
    temporary_cost: float

    @property
    def cost(self) -> float:
        """sum_i shares_i paid_i, currency."""
        return self.transient_cost + self.permanent_cost + self.temporary_cost


def price_path(
    kernel: Kernel,
    times: ArrayLike,
    shares: ArrayLike,
    *,
    permanent: float = 0.0,
    temporary: float = 0.0,
    response: Callable[[Float], Any] | None = None,
) -> PricePath:
    r"""The mid under a schedule, and what the schedule pays.

    .. math::
        p_i^- = \sum_{j < i} \bigl[ f(x_j) G(t_i - t_j) + \gamma x_j \bigr], \qquad
        \mathrm{paid}_i = p_i^- + \tfrac12 \bigl[ f(x_i) G(0) + \gamma x_i \bigr] + \eta x_i

    A trade pays half of its own displacement, so with f(x) = x the cost is
    1/2 x'Gx + gamma (sum x)^2 / 2 + eta x'x. O(n log n) on a regular grid, else O(n^2).

    Parameters
    ----------
    kernel : callable
        G, currency per share**2 of an array of lags.
    times : (n,) strictly rising, unit of time of the kernel
    shares : (n,) signed, a buy is positive
    permanent : currency per share**2
        gamma, the part that never decays.
    temporary : currency per share**2
        eta, the part that nobody pays but the trade itself.
    response : callable, optional
        f of the (n,) shares, elementwise; f(x) = x by default. Other shapes admit price
        manipulation under an exponential kernel (Gatheral 2010).

    Raises
    ------
    ValidationError
        Shapes that disagree, also that of what `response` returns; times that do not rise; a kernel that
        is no function or not finite; parameters that are no numbers.

    References
    ----------
    Gatheral (2010), No-dynamic-arbitrage and market impact, Quantitative Finance 10, 749-759.
    """
    at, traded = trade_times(times), numbers("shares", shares)
    if traded.shape != at.shape or not np.isfinite(traded).all():
        raise ValidationError(
            f"shares must be {at.shape} finite numbers as times are, got shape {traded.shape}"
        )
    permanent, temporary = number("permanent", permanent), number("temporary", temporary)
    pushed = traded if response is None else numbers("what response returns", response(traded))
    if pushed.shape != at.shape or not np.isfinite(pushed).all():
        raise ValidationError(
            f"response must return {at.shape} finite numbers, one a trade, got shape {pushed.shape}"
        )
    own = pushed * at_lags(kernel, np.zeros(1))[0]
    transient = _past(kernel, at, pushed)
    lasting = permanent * (np.cumsum(traded) - traded)
    before = transient + lasting
    return PricePath(
        at,
        traded,
        before,
        after=before + own + permanent * traded,
        paid=before + 0.5 * (own + permanent * traded) + temporary * traded,
        transient_cost=float(traded @ (transient + 0.5 * own)),
        permanent_cost=float(traded @ (lasting + 0.5 * permanent * traded)),
        temporary_cost=float(temporary * traded @ traded),
    )


def _past(kernel: Kernel, times: Float, pushed: Float) -> Float:
    """sum_{j < i} pushed_j G(t_i - t_j), (n,)."""
    if evenly_spaced(times):
        return displaced(at_lags(kernel, times - times[0]), pushed)
    return np.tril(kernel_matrix(kernel, times), -1) @ pushed
