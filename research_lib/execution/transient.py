"""The cheapest schedule of one order under decaying impact of its own trades."""

import time

import numpy as np

from research_lib.checks import ArrayLike, Float, number, per_interval
from research_lib.errors import OptimizationError
from research_lib.execution.allocate import Allocation
from research_lib.execution.fallback import Attempt, fault_of
from research_lib.execution.problem import Limits, why_infeasible
from research_lib.execution.quadratic import Quadratic, decay_of
from research_lib.impact import ExponentialKernel, Kernel, check_kernel, trade_times
from research_lib.monitoring import timed

TOLERANCE = 1e-8


@timed("transient_schedule")
def transient_schedule(
    kernel: Kernel, times: ArrayLike, total_shares: float, *, min_shares: ArrayLike | None = None,
    max_shares: ArrayLike | None = None, temporary: ArrayLike = 0.0, timeout_seconds: float = 300.0,
) -> Allocation:  # fmt: skip
    r"""Least cost of trading `total_shares` at given times; each trade pays half of its own impact.

    .. math:: \min_x \tfrac12 x^\top G x + \sum_i \eta_i x_i^2,
              \quad G_{ij} = G(|t_i - t_j|), \quad \sum_i x_i = S

    Exponential kernels have a closed form; sums of them, or temporary impact, are solved from a
    sparse system in O(n) on any grid, other kernels by Cholesky, bounds by an active set. Under
    risk aversion `allocate` solves it, with trades of one direction.

    Parameters
    ----------
    kernel : callable
        G, currency per share**2 of an array of lags; `check_kernel` refuses one with profitable
        round trips on these times.
    times : (n,) strictly rising, unit of time of the kernel
        A Series is aligned by its labels 0 to n - 1, as are all arguments with one value a trade.
    total_shares : float
        S, shares; a sell may be positive too, because a positive cost means a price that moves
        against the order.
    min_shares, max_shares : scalar or (n,) shares, optional
        Bounds of each trade, of any sign; None (or an infinity) is no bound.
    temporary : scalar or (n,) currency per share**2
        eta >= 0: impact that affects only the trade itself.
    timeout_seconds
        Limit of the search for the trades at a bound.

    Returns
    -------
    Allocation
        `solver` names the method; gap and KKT residual
        as in `Quadratic.certificate`, the residual relative to the most expensive trade's marginal
        price. `warnings` names kernels under which schedules of any sign alternate buys and sells.

    Raises
    ------
    ValidationError
        A kernel that is not positive definite on the times, arguments out of range.
    OptimizationError
        Bounds that admit no schedule, a kernel matrix that is singular to rounding.

    References
    ----------
    Alfonsi, Schied and Slynko (2012), Order book resilience, price manipulation, and the positive
    portfolio problem, SIAM Journal on Financial Mathematics 3, 511-533.

    Examples
    --------
    >>> kernel = ExponentialKernel(0.5, 1e-5)
    >>> transient_schedule(kernel, [0, 1, 2], 1_000).shares.round(1).tolist()
    [417.8, 164.4, 417.8]
    """
    limits = Limits(1, TOLERANCE, timeout_seconds)
    at, shares = trade_times(times), number("total_shares", total_shares)
    n = len(at)
    curvature = per_interval("temporary", temporary, n)
    problem = Quadratic(shares, decay_of(kernel, at), curvature, np.zeros(n), np.zeros(n))
    warnings = check_kernel(kernel, at).warnings
    least = -np.inf if min_shares is None else min_shares
    most = np.inf if max_shares is None else max_shares
    lower = per_interval("min_shares", least, n, -np.inf, infinite=True)
    upper = per_interval("max_shares", most, n, -np.inf, infinite=True)
    if reason := why_infeasible(shares, lower, upper):
        raise OptimizationError(reason)
    x, method, solves = None, "closed form", 1
    if isinstance(kernel, ExponentialKernel) and not curvature.any():
        closed = obizhaeva_wang(shares, at, kernel.decay)
        x = closed if np.all((closed >= lower) & (closed <= upper)) else None
    if x is None:
        x, method, solves = problem.bounded(lower, upper, lambda: limits.left > 0)
    if x is None:
        late = f"not done in {timeout_seconds:g} s; raise timeout_seconds"
        singular = "the kernel's matrix is singular to rounding; trade less often"
        raise OptimizationError(late if limits.left <= 0 else singular)
    found = problem.certificate(x, lower, upper)
    if fault := fault_of(found, shares, n, TOLERANCE, float(np.abs(x).sum())):
        raise OptimizationError(f"no certified schedule by {method}: {fault}; trade less often")
    elapsed = time.perf_counter() - limits.begin
    cost, gap, residual = found.cost, found.duality_gap, found.kkt_residual
    tried = Attempt("structured", method, True, "", elapsed, solves, cost, gap, residual)
    how = "cost", method, (tried,), elapsed, "", warnings if np.any(lower < 0) else ()
    return Allocation(x, cost, found.multiplier, residual, gap, *how)


def obizhaeva_wang(total_shares: float, times: ArrayLike, decay: float) -> Float:
    r"""The cheapest schedule under G(lag) = exp(-decay lag), on any grid.

    .. math:: x_1 = \frac{\nu}{2} (1 + d_1), \quad x_i = \frac{\nu}{2} (d_{i-1} + d_i), \quad
              x_n = \frac{\nu}{2} (1 + d_{n-1}), \qquad d_i = \tanh \frac{\rho (t_{i+1} - t_i)}{2},
              \quad \nu = \frac{2 S}{2 + 2 \sum_i d_i}

    which is proportional to G^-1 1; the inverse is tridiagonal. On a regular grid, with
    e = exp(-rho tau), the ends are x0 = S / (2 + (n - 2)(1 - e)) and all others x0 (1 - e). Without
    decay every split costs the same, and the limit trades half at each end; at infinite decay it is
    TWAP.

    Parameters
    ----------
    total_shares : float
        S, shares of any sign.
    times : (n,) strictly rising
    decay : float
        rho >= 0, per unit of time; inf is allowed.

    Returns
    -------
    (n,) shares, each of the order's sign.

    Raises
    ------
    ValidationError
        Times that do not rise, a negative decay.

    References
    ----------
    Obizhaeva and Wang (2013), Optimal trading strategy and supply/demand dynamics, Journal of
    Financial Markets 16, 1-32. Alfonsi, Fruth and Schied (2010), Optimal execution strategies in
    limit order books with general shape functions, Quantitative Finance 10, 143-157.

    Examples
    --------
    >>> obizhaeva_wang(1_000, [0, 1, 2], decay=0.5).round(1).tolist()
    [417.8, 164.4, 417.8]
    """
    at, shares = trade_times(times), number("total_shares", total_shares)
    rate = decay if decay == np.inf else number("decay", decay, 0)
    lost = np.tanh(0.5 * rate * np.diff(at))
    weights = np.append(1.0, lost) + np.append(lost, 1.0)
    return np.asarray(shares * (weights / weights.sum()))
