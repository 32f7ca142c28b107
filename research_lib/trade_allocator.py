"""`TradeAllocator`: the allocation half of the facade, from a fitted model to a schedule."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from research_lib.checks import number
from research_lib.config import OptimizerConfig, Record, SolverType
from research_lib.errors import OptimizationError, ValidationError
from research_lib.execution import Allocation, allocate, share_caps, twap
from research_lib.impact import OBJECTIVES, recut
from research_lib.impact_model import ImpactModel
from research_lib.monitoring import MONITOR

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Float = NDArray[np.float64]
# What `allocate` takes of the configuration as it is.
SETTINGS = ("max_iterations", "tolerance", "timeout_seconds", "validate_inputs", "validate_outputs")
LIMITS = ("participation_rate", "volume", "blackout")  # see `share_caps`
COMPARED = {
    "duality_gap": "gap",
    "kkt_residual": "residual",
    "elapsed": "seconds",
    "accepted": "certified",
}
MARGINAL_UNITS = {"cost": "currency/share", "impact": "currency/share per share"}


@dataclass(frozen=True, eq=False)
class AllocationResult(Record):
    """What `TradeAllocator.optimize` returns.

    Attributes
    ----------
    optimal_allocation : (n,) shares
    total_impact, naive_impact : float
        The objective's total of the schedule and of equal shares, same curve, order and unit.
    improvement_pct : float
        100 * (naive - total) / naive, on the fitted curve: an in-sample figure.
    beyond_observed : int
        Intervals whose child order exceeds the largest uncensored size that their fit saw.
    allocation : Allocation
        The certificate and the attempts.
    """

    optimal_allocation: Float
    total_impact: float
    naive_impact: float
    improvement_pct: float
    beyond_observed: int
    allocation: Allocation

    def to_frame(self) -> pd.DataFrame:
        """The schedule by interval; see `Allocation.to_frame`."""
        return self.allocation.to_frame()


class TradeAllocator:
    """Split one order over the intervals of a fitted model.

    No child order is above `config.max_allocation_ratio` of it (30 %).

    Parameters
    ----------
    impact_model : ImpactModel
        Already fitted.
    total_shares : float
        The order, shares, above 0.
    n_intervals : int, optional
        The model's by default; another number re-cuts the session by time of day.
    config : OptimizerConfig, optional
    objective : "cost" or "impact"

    Raises
    ------
    ValidationError
        An order that is not a positive number.
    ModelFittingError
        A model without a curve.

    Examples
    --------
    >>> model = ImpactModel("linear")
    >>> _ = model.fit_model(model.estimate_slippage(model.generate_synthetic_orderbook(39, 10)))
    >>> result = TradeAllocator(model, 20_000).optimize("analytical")
    >>> round(float(result["optimal_allocation"].sum()), 6), result["improvement_pct"] > 0
    (20000.0, True)
    """

    def __init__(
        self,
        impact_model: ImpactModel,
        total_shares: float,
        n_intervals: int | None = None,
        config: OptimizerConfig | None = None,
        objective: str = "cost",
    ) -> None:
        if objective not in OBJECTIVES:
            choices = ", ".join(OBJECTIVES)
            raise ValidationError(f"objective must be one of {choices}, got {objective!r}")
        self.total_shares = number("total_shares", total_shares, above=0)
        self.config = OptimizerConfig() if config is None else config
        for name, value, kind in (
            ("config", self.config, OptimizerConfig), ("impact_model", impact_model, ImpactModel),
        ):  # fmt: skip
            if not isinstance(value, kind):
                got = type(value).__name__
                raise ValidationError(f"{name} must be an {kind.__name__}, got {got}")
        self.objective, curve, n = objective, impact_model.curve, n_intervals
        self.n_intervals = len(curve) if n is None else number("n_intervals", n, 1, integer=True)
        self.curve = curve.recut(self.n_intervals)
        if impact_model.fit is not None:  # recut as the curve is: `allocate` warns beyond it
            largest = recut(impact_model.fit.diagnostics["largest_size"], self.n_intervals)
            object.__setattr__(self.curve, "largest_size", largest)
        self.result: AllocationResult | None = None
        self.caps = np.full(self.n_intervals, self.config.max_allocation_ratio * self.total_shares)
        self._problem: dict[str, Any] = {"max_shares": self.caps}

    def optimize(self, solver: SolverType | str | None = None, **options: Any) -> AllocationResult:
        """Solve with `solver`, by default `config.default_solver`.

        Parameters
        ----------
        solver : SolverType or its text, optional
        participation_rate, volume, blackout
            Caps beside `config.max_allocation_ratio`; see `share_caps`.
        options
            See `allocate`: on_infeasible, lot_size, kernel, times, risk_aversion, covariance,
            terms, cross_check.
        """
        with MONITOR.timing("optimize") as found:
            self.result = self._optimized(solver, **options)
            found["improvement_pct"] = self.result.improvement_pct
        return self.result

    def _optimized(self, solver: SolverType | str | None, **options: Any) -> AllocationResult:
        limits = {name: options.pop(name, None) for name in LIMITS}
        ratio, n, order = self.config.max_allocation_ratio, self.n_intervals, self.total_shares
        if options.get("on_infeasible", "raise") == "raise" and ratio * n < 1.0 - 1e-12:
            admitted = f"cap admits {ratio * n * order:,.6g} of {order:,.6g} shares"
            limit = f"max_allocation_ratio {ratio:g} in {n} intervals"
            remedy = f"raise it to at least {math.ceil(1e4 / n) / 1e4:g}, or relax on_infeasible"
            raise OptimizationError(f"{admitted}: {limit}; {remedy}")
        self.caps = share_caps(n, max_shares=ratio * order, **limits)
        first = self.config.default_solver if solver is None else solver
        # Lots and a second solver are of one answer, not of the problem.
        single = {
            name: options.pop(name) for name in ("lot_size", "cross_check") if name in options
        }
        self._problem = {"max_shares": self.caps, **options}
        allocation = self._solved(first, **single)
        if allocation.relaxed_caps is not None:
            self.caps = allocation.relaxed_caps
        equal = twap(self.total_shares, self.n_intervals).shares
        naive = float(np.sum(self.curve.total(self.objective).value(equal)))
        return AllocationResult(
            allocation.shares,
            allocation.cost,
            naive,
            100.0 * (naive - allocation.cost) / naive if naive else 0.0,
            int(np.sum(allocation.shares > getattr(self.curve, "largest_size", np.inf))),
            allocation,
        )

    def _solved(self, solver: SolverType | str, **single: Any) -> Allocation:
        """The last problem under the configuration's settings."""
        settings = {name: self.config[name] for name in SETTINGS}
        bounds = {"objective": self.objective, "min_shares": self.config.min_trade_size}
        given = settings | bounds | self._problem | single
        return allocate(self.curve, self.total_shares, solver=solver, **given)

    def compare_solvers(self) -> pd.DataFrame:
        """Each solver's own answer to the last problem, not in lots; no other's in its place.

        Returns
        -------
        DataFrame
            Index solver; backend, cost, gap (relative, proven), residual (KKT, relative), seconds,
            iterations, certified, reason; NaN where it gave no schedule.
        """
        rows = {}
        for solver in (SolverType.ANALYTICAL, SolverType.CVXPY, SolverType.SCIPY):
            attempts = self._solved(solver).attempts
            own = [one for one in attempts if one.solver == solver.value] or attempts
            rows[solver.value] = dataclasses.asdict(own[-1])
        table = pd.DataFrame.from_dict(rows, orient="index").drop(columns="solver")
        return table.rename_axis("solver").rename(columns=COMPARED)

    def summary(self) -> str:
        """The last result and its certificate as text; solves first if need be."""
        result, equal = self.result or self.optimize(), self.total_shares / self.n_intervals
        side = "below" if result.improvement_pct >= 0 else "above"
        shown = (
            f"{abs(result.improvement_pct):.3g} % {side} equal shares' {result.naive_impact:,.6g}"
        )
        admitted = np.all(equal <= self.caps * (1 + 1e-9))
        ratio = f"max_allocation_ratio {self.config.max_allocation_ratio:g}"
        lines = [
            result.allocation.summary(),
            f"no child order above {self.caps.max():,.6g} shares ({ratio})",
            f"{shown} on the fitted curve" + ("" if admitted else ", which the caps do not admit"),
            f"{result.beyond_observed} child orders beyond the sizes that the fit saw",
        ]
        return "\n".join(lines)

    def plot_allocation(self, save_path: str | Path | None = None) -> list[Axes]:
        """One picture of the order: schedule against TWAP under its caps, water level, cumulative
        execution.

        Solves first if need be, and saves the picture where a path is given.
        """
        from research_lib.reporting.figures.base import save_figure
        from research_lib.reporting.figures.execution import plot_order

        result = self.result or self.optimize()
        baselines = {"TWAP": twap(self.total_shares, self.n_intervals).shares}
        total, shares = self.curve.total(self.objective), result.optimal_allocation
        coupled = any(self._problem.get(name) for name in ("kernel", "risk_aversion", "terms"))
        level = None if coupled else result.allocation.marginal_cost
        marginal = total.marginal_last(shares), total.marginal(0.0)
        unit = MARGINAL_UNITS[self.objective]
        axes = plot_order(shares, baselines, self.caps, *marginal, level, unit)
        if save_path is not None:
            save_figure(axes[0], save_path)
        return axes
