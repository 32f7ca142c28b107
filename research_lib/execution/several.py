"""`allocate` for several assets: linear curves as the temporary impact of `portfolio_schedule`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from inspect import Parameter
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from research_lib.config import numbers
from research_lib.errors import ValidationError
from research_lib.execution.portfolio import PortfolioSchedule, portfolio_schedule
from research_lib.impact.curves import ImpactCurve, LinearImpact

Float = NDArray[np.float64]
SHARED = "min_shares", "max_shares", "risk_aversion", "covariance", "max_iterations", "timeout_seconds"


def allocate_portfolio(
    curves: Sequence[ImpactCurve],
    total_shares: ArrayLike,
    *,
    min_shares: ArrayLike | None = 0.0,
    max_shares: ArrayLike | None = None,
    risk_aversion: float = 0.0,
    covariance: ArrayLike | None = None,
    max_iterations: int = 1000,
    timeout_seconds: float = 300.0,
) -> PortfolioSchedule:
    r"""Split m orders over n intervals at the least cost plus risk aversion times variance.

    Parameters
    ----------
    curves : sequence of m LinearImpact
        n intervals each, the same coefficients in all of them: impact beta x and the half-spread.
    total_shares : (m,) shares
        Signed: a sell is positive, a buy negative, of 0 nothing is traded by default.
    min_shares : scalar, (m,), (n, 1) or (n, m) shares, optional
        Floors of the children counted in their order's direction; 0 by default, None for children of
        any sign, as a hedge needs them.
    max_shares : as min_shares
        Caps, in their order's direction; with `min_shares` None, of either sign.
    risk_aversion : per currency
        lambda >= 0.
    covariance : (m, m) (currency per share)**2
        Of the mids' changes from one child to the next.
    max_iterations, timeout_seconds
        Of each backend of `portfolio_schedule`, and of all together.

    Returns
    -------
    PortfolioSchedule
        shares (n, m), signed as the orders.

    Raises
    ------
    ValidationError
        Curves that are not linear, vary over the intervals or differ in length.
    OptimizationError
        As `portfolio_schedule`.
    """
    orders, (beta, half_spread) = numbers("total_shares", total_shares), _constant(curves)
    m = len(beta)
    if orders.shape != (m,):
        raise ValidationError(f"total_shares must be ({m},), one order a curve, got shape {orders.shape}")
    if risk_aversion and covariance is None:
        raise ValidationError("risk_aversion needs covariance (m, m), of the mids' changes over an interval")
    lower, upper = _signed(orders, min_shares, max_shares)
    return portfolio_schedule(
        orders,
        len(curves[0]),
        covariance=np.zeros((m, m)) if covariance is None else covariance,
        temporary=beta,
        half_spread=half_spread,
        risk_aversion=risk_aversion,
        min_shares=lower,
        max_shares=upper,
        max_iterations=max_iterations,
        timeout_seconds=timeout_seconds,
    )


def shared(settings: Mapping[str, Any], defaults: Mapping[str, Parameter]) -> dict[str, Any]:
    """Those settings of `allocate` that several curves take too; another that is not as by default is refused."""
    for name in settings.keys() - SHARED:
        value, default = settings[name], defaults[name].default
        if value is not default and not (np.ndim(value) == 0 and value == default):
            raise ValidationError(
                f"{name} is for one curve, got {str(value)[:60]!r} with several; these take {', '.join(SHARED)}"
            )
    return {name: settings[name] for name in SHARED}


def _constant(curves: Sequence[ImpactCurve]) -> Float:
    """beta and half-spread of each curve, (2, m)."""
    if not isinstance(curves, Sequence | np.ndarray):
        raise ValidationError(f"curve must be an ImpactCurve or a sequence of them, got {type(curves).__name__}")
    if not len(curves) or not all(isinstance(curve, LinearImpact) for curve in curves):
        kinds = ", ".join(sorted({type(curve).__name__ for curve in curves})) or "none"
        raise ValidationError(f"several assets need LinearImpact curves, got {kinds}; allocate one at a time")
    lengths = {len(curve) for curve in curves}
    if len(lengths) > 1:
        raise ValidationError(f"curves have {min(lengths)} to {max(lengths)} intervals; recut them to one number")
    for j, curve in enumerate(curves):
        for name, values in curve.parameters().items():
            if np.ptp(values) > 0:
                raise ValidationError(
                    f"{name} of curve {j} varies over the intervals, from {values.min():g} to {values.max():g}; "
                    "several assets need one number each: take its mean"
                )
    return np.array([[curve[name][0] for curve in curves] for name in ("beta", "half_spread")])


def _signed(
    orders: Float, min_shares: ArrayLike | None, max_shares: ArrayLike | None
) -> tuple[ArrayLike | None, ArrayLike | None]:
    """Bounds of signed trades from those counted in the order's direction."""
    caps = np.inf if max_shares is None else np.asarray(max_shares, float)
    if min_shares is None:
        return -np.asarray(caps), caps
    floors = np.asarray(min_shares, float)
    caps = np.where(orders == 0, floors, np.broadcast_to(caps, np.broadcast_shapes(np.shape(caps), orders.shape)))
    return np.where(orders < 0, -caps, floors), np.where(orders < 0, -floors, caps)
