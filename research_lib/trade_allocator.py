"""`TradeAllocator`: the allocation half of the facade, from a fitted model to a schedule."""

from __future__ import annotations

import logging
import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from research_lib.checks import number, numbers
from research_lib.config import OptimizerConfig, Record, SolverType
from research_lib.errors import OptimizationError, ValidationError
from research_lib.execution import Allocation, allocate, share_caps, twap, vwap
from research_lib.impact import OBJECTIVES
from research_lib.impact_model import ImpactModel
from research_lib.monitoring import timed

if TYPE_CHECKING:
    from matplotlib.axes import Axes

logger = logging.getLogger(__name__)
Float = NDArray[np.float64]
COMPARED = [
    "solver", "backend", "cost", "gap", "residual", "seconds", "iterations", "certified", "reason",
]  # fmt: skip
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
        if not isinstance(self.config, OptimizerConfig):
            got = type(config).__name__
            raise ValidationError(
                f"config must be an OptimizerConfig, got {got}; use its from_dict"
            )
        self.objective = objective
        if not isinstance(impact_model, ImpactModel):
            got = type(impact_model).__name__
            raise ValidationError(f"impact_model must be an ImpactModel, got {got}")
        self.model = impact_model
        curve, n = impact_model.curve, n_intervals
        self.n_intervals = len(curve) if n is None else number("n_intervals", n, 1, integer=True)
        # Another cut of the session takes the curve in force in the middle of each interval.
        at = (2 * np.arange(self.n_intervals) + 1) * len(curve) // (2 * self.n_intervals)
        self.curve = curve.take(at)
        if impact_model.fit is not None:  # `allocate` warns beyond it
            largest = impact_model.fit.diagnostics["largest_size"][at]
            object.__setattr__(self.curve, "largest_size", largest)
        self.result: AllocationResult | None = None
        self.caps = np.full(self.n_intervals, self.config.max_allocation_ratio * self.total_shares)
        self._asked: dict[str, Any] = {"max_shares": self.caps}

    @timed("optimize")
    def optimize(
        self,
        solver: SolverType | str | None = None,
        *,
        participation_rate: float | None = None,
        volume: ArrayLike | None = None,
        blackout: Any = None,
        on_infeasible: str = "raise",
        **options: Any,
    ) -> AllocationResult:
        """Solve with `solver`, by default `config.default_solver`.

        Parameters
        ----------
        solver : SolverType or its text, optional
        participation_rate, volume, blackout
            Caps beside `config.max_allocation_ratio`; see `share_caps`.
        on_infeasible, options
            See `allocate`: lot_size, kernel, times, risk_aversion, covariance, terms, cross_check.
        """
        config = self.config
        ratio, n, order = config.max_allocation_ratio, self.n_intervals, self.total_shares
        if on_infeasible == "raise" and ratio * n < 1.0 - 1e-12:
            raise OptimizationError(
                f"cap admits {ratio * n * order:,.6g} of {order:,.6g} shares: max_allocation_ratio "
                f"{ratio:g} in {n} intervals; raise it to at least {math.ceil(1e4 / n) / 1e4:g}, "
                "or "
                "set on_infeasible='relax'"
            )
        self.caps = share_caps(
            n,
            max_shares=ratio * order,
            participation_rate=participation_rate,
            volume=volume,
            blackout=blackout,
        )
        fixed: dict[str, Any] = {"max_shares": self.caps, "on_infeasible": on_infeasible}
        first = config.default_solver if solver is None else solver
        allocation = allocate(
            self.curve, order, solver=first, **self._settings(), **fixed, **options
        )
        single = ("lot_size", "cross_check")  # of one answer, not of the problem
        self._asked = fixed | {k: v for k, v in options.items() if k not in single}
        if allocation.relaxed_caps is not None:
            self.caps = allocation.relaxed_caps
        self.result = self._result(allocation)
        return self.result

    def compare_solvers(self) -> pd.DataFrame:
        """Each solver's own answer to the last problem, not in lots; no other's in its place.

        Returns
        -------
        DataFrame
            Index solver; backend, cost, gap (relative, proven), residual (KKT, relative), seconds,
            iterations, certified, reason; NaN where it gave no schedule.
        """
        rows = []
        for solver in (SolverType.ANALYTICAL, SolverType.CVXPY, SolverType.SCIPY):
            settings = {**self._settings(), **self._asked}
            attempts = allocate(self.curve, self.total_shares, solver=solver, **settings).attempts
            a = ([a for a in attempts if a.solver == solver.value] or list(attempts))[-1]
            rows.append((
                solver.value, a.backend, a.cost, a.duality_gap, a.kkt_residual, a.elapsed,
                a.iterations, a.accepted, a.reason,
            ))  # fmt: skip
        return pd.DataFrame(rows, columns=COMPARED).set_index("solver")

    def summary(self) -> str:
        """The last result and its certificate as text; solves first if need be."""
        result, equal = self.result or self.optimize(), self.total_shares / self.n_intervals
        side = "below" if result.improvement_pct >= 0 else "above"
        apart, naive = abs(result.improvement_pct), result.naive_impact
        saved = f"{apart:.3g} % {side} equal shares' {naive:,.6g} on the fitted curve"
        if np.any(equal > self.caps * (1 + 1e-9)):
            saved += ", which the caps do not admit"
        eased = ", relaxed" if result.allocation.relaxed else ""
        ratio = f"max_allocation_ratio {self.config.max_allocation_ratio:g}{eased}"
        cap = f"no child order above {self.caps.max():,.6g} shares ({ratio})"
        beyond = f"{result.beyond_observed} child orders beyond the sizes that the fit saw"
        return "\n".join([result.allocation.summary(), cap, saved, beyond])

    def plot_allocation(
        self, save_path: str | Path | None = None, volume: ArrayLike | None = None
    ) -> list[Axes]:
        """One picture of the order: schedule against TWAP under its caps, water level, cumulative
        execution.

        Solves first if need be. The one call upwards in the library: figures are drawn where all
        are.

        Parameters
        ----------
        save_path : path, optional
        volume : (n,) shares, optional
            Expected volume: VWAP is drawn too.
        """
        from research_lib.reporting.figures.base import save_figure
        from research_lib.reporting.figures.execution import plot_order

        result = self.result or self.optimize()
        baselines = {"TWAP": twap(self.total_shares, self.n_intervals).shares}
        if volume is not None:
            expected = numbers("volume", volume)
            if expected.shape != (self.n_intervals,):
                rule = f"({self.n_intervals},), one an interval, got shape {expected.shape}"
                raise ValidationError(f"volume must be {rule}")
            baselines["VWAP"] = vwap(self.total_shares, volume).shares
        total, shares = self.curve.total(self.objective), result.optimal_allocation
        coupled = any(self._asked.get(name) for name in ("kernel", "risk_aversion", "terms"))
        axes = plot_order(
            shares, baselines, self.caps, total.marginal_last(shares), total.marginal(0.0),
            None if coupled else result.allocation.marginal_cost, MARGINAL_UNITS[self.objective],
        )  # fmt: skip
        if save_path is not None:
            save_figure(axes[0], save_path)
        return axes

    def _settings(self) -> dict[str, Any]:
        """What the configuration says to `allocate`."""
        names = (
            "max_iterations",
            "tolerance",
            "timeout_seconds",
            "validate_inputs",
            "validate_outputs",
        )
        settings = {name: self.config[name] for name in names}
        return {**settings, "objective": self.objective, "min_shares": self.config.min_trade_size}

    def _result(self, allocation: Allocation) -> AllocationResult:
        """The allocation beside equal shares on the same curve."""
        equal = twap(self.total_shares, self.n_intervals).shares
        naive = float(np.sum(self.curve.total(self.objective).value(equal)))
        largest = getattr(self.curve, "largest_size", np.inf)
        return AllocationResult(
            optimal_allocation=allocation.shares,
            total_impact=allocation.cost,
            naive_impact=naive,
            improvement_pct=100.0 * (naive - allocation.cost) / naive if naive else 0.0,
            beyond_observed=int(np.sum(allocation.shares > largest)),
            allocation=allocation,
        )
