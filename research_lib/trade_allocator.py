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
from research_lib.execution import Allocation, ConvexTerms, allocate, share_caps, twap, vwap
from research_lib.impact import OBJECTIVES, Kernel, recut
from research_lib.impact_model import ImpactModel
from research_lib.monitoring import timed

if TYPE_CHECKING:
    from matplotlib.axes import Axes

logger = logging.getLogger(__name__)
Float = NDArray[np.float64]
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


class TradeAllocator:
    """Split one order over the intervals of a fitted model, no child above `config.max_allocation_ratio` of it (30 %).

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
            raise ValidationError(
                f"objective must be one of {', '.join(OBJECTIVES)}, got {objective!r}"
            )
        self.total_shares = number("total_shares", total_shares, above=0)
        self.config = OptimizerConfig() if config is None else config
        if not isinstance(self.config, OptimizerConfig):
            raise ValidationError(
                f"config must be an OptimizerConfig, got {type(config).__name__}; use its from_dict"
            )
        self.objective = objective
        if not isinstance(impact_model, ImpactModel):
            raise ValidationError(
                f"impact_model must be an ImpactModel, got {type(impact_model).__name__}"
            )
        self.model = impact_model
        curve = impact_model.curve
        self.n_intervals = (
            len(curve)
            if n_intervals is None
            else number("n_intervals", n_intervals, 1, integer=True)
        )
        self.curve = curve.recut(self.n_intervals)
        self.result: AllocationResult | None = None
        self.caps = np.full(self.n_intervals, self.config.max_allocation_ratio * self.total_shares)
        self._asked: dict[str, Any] = {"max_shares": self.caps}

    @timed("optimize")
    def optimize(
        self,
        solver: SolverType | str | None = None,
        *,
        lot_size: float | None = None,
        participation_rate: float | None = None,
        volume: ArrayLike | None = None,
        blackout: Any = None,
        kernel: Kernel | None = None,
        times: ArrayLike | None = None,
        risk_aversion: float = 0.0,
        covariance: ArrayLike | None = None,
        terms: ConvexTerms | None = None,
        on_infeasible: str = "raise",
        cross_check: bool = False,
    ) -> AllocationResult:
        """Solve with `solver`, by default `config.default_solver`.

        Parameters
        ----------
        solver : SolverType or its text, optional
        participation_rate, volume, blackout
            Caps beside `config.max_allocation_ratio`; see `share_caps`.
        lot_size, kernel, times, risk_aversion, covariance, terms, on_infeasible, cross_check
            See `allocate`.
        """
        config, n = self.config, self.n_intervals
        if on_infeasible == "raise":
            self._check_ratio()
        self.caps = share_caps(
            n,
            max_shares=config.max_allocation_ratio * self.total_shares,
            participation_rate=participation_rate,
            volume=volume,
            blackout=blackout,
        )
        self._asked = {
            "max_shares": self.caps, "kernel": kernel, "times": times, "risk_aversion": risk_aversion,
            "covariance": covariance, "terms": terms, "on_infeasible": on_infeasible,
        }  # fmt: skip
        allocation = allocate(
            self.curve,
            self.total_shares,
            solver=config.default_solver if solver is None else solver,
            lot_size=lot_size,
            cross_check=cross_check,
            **self._asked,
            **self._settings(),
        )
        if allocation.relaxed_caps is not None:
            self.caps = allocation.relaxed_caps
        self.result = self._result(allocation)
        return self.result

    def _check_ratio(self) -> None:
        """Name the setting where it alone admits too little."""
        ratio, n, order = self.config.max_allocation_ratio, self.n_intervals, self.total_shares
        if ratio * n < 1.0 - 1e-12:
            raise OptimizationError(
                f"cap admits {ratio * n * order:,.6g} of {order:,.6g} shares: max_allocation_ratio {ratio:g} in {n} "
                f"intervals; raise it to at least {math.ceil(1e4 / n) / 1e4:g}, or set on_infeasible='relax'"
            )

    def compare_solvers(self) -> pd.DataFrame:
        """Each solver's own answer to the last problem, not in lots or least children; no other's in its place.

        Returns
        -------
        DataFrame
            Index solver; backend, cost, gap (relative, proven), residual (KKT, relative), seconds,
            iterations, certified, reason; NaN where it gave no schedule.
        """
        rows = {}
        for solver in (SolverType.ANALYTICAL, SolverType.CVXPY, SolverType.SCIPY):
            settings = {**self._settings(), **self._asked}
            attempts = allocate(self.curve, self.total_shares, solver=solver, **settings).attempts
            own = [a for a in attempts if a.solver == solver.value]
            rows[solver.value] = own[-1] if own else attempts[-1]
        return pd.DataFrame(
            [
                {
                    "solver": name, "backend": a.backend, "cost": a.cost, "gap": a.duality_gap,
                    "residual": a.kkt_residual, "seconds": a.elapsed, "iterations": a.iterations,
                    "certified": a.accepted, "reason": a.reason,
                }
                for name, a in rows.items()
            ]
        ).set_index("solver")  # fmt: skip

    def summary(self) -> str:
        """The last result and its certificate as text; solves first if need be."""
        result = self.result or self.optimize()
        side, equal = (
            "below" if result.improvement_pct >= 0 else "above",
            self.total_shares / self.n_intervals,
        )
        apart, naive = abs(result.improvement_pct), result.naive_impact
        saved = f"{apart:.3g} % {side} equal shares' {naive:,.6g} on the fitted curve"
        if np.any(equal > self.caps * (1 + 1e-9)):
            saved += ", which the caps do not admit"
        eased = ", relaxed" if result.allocation.relaxed else ""
        ratio = f"max_allocation_ratio {self.config.max_allocation_ratio:g}{eased}"
        cap = f"no child above {self.caps.max():,.6g} shares ({ratio})"
        beyond = f"{result.beyond_observed} children beyond the sizes that the fit saw"
        return "\n".join([result.allocation.summary(), cap, saved, beyond])

    def plot_allocation(
        self, save_path: str | Path | None = None, volume: ArrayLike | None = None
    ) -> list[Axes]:
        """One picture of the order: schedule against TWAP under its caps, water level, cumulative execution.

        Solves first if need be. The one call upwards in the library: figures are drawn where all are.

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
            baselines["VWAP"] = vwap(self.total_shares, self._volume(volume)).shares
        total, shares = self.curve.total(self.objective), result.optimal_allocation
        coupled = any(self._asked.get(name) for name in ("kernel", "risk_aversion", "terms"))
        axes = plot_order(
            shares, baselines, self.caps, total.marginal_last(shares), total.marginal(0.0),
            None if coupled else result.allocation.marginal_cost, MARGINAL_UNITS[self.objective],
        )  # fmt: skip
        if save_path is not None:
            save_figure(axes[0], save_path)
        return axes

    def _volume(self, volume: ArrayLike) -> Float:
        expected = numbers("volume", volume)
        if expected.shape != (self.n_intervals,):
            raise ValidationError(
                f"volume must be ({self.n_intervals},), one an interval, got shape {expected.shape}"
            )
        return expected

    def _settings(self) -> dict[str, Any]:
        """What the configuration says to `allocate`."""
        config = self.config
        return {
            "objective": self.objective,
            "max_iterations": config.max_iterations,
            "tolerance": config.tolerance,
            "timeout_seconds": config.timeout_seconds,
            "validate_inputs": config.validate_inputs,
            "validate_outputs": config.validate_outputs,
            "min_shares": config.min_trade_size,
        }

    def _result(self, allocation: Allocation) -> AllocationResult:
        """The allocation beside equal shares on the same curve."""
        equal = twap(self.total_shares, self.n_intervals).shares
        naive = float(np.sum(self.curve.total(self.objective).value(equal)))
        return AllocationResult(
            optimal_allocation=allocation.shares,
            total_impact=allocation.cost,
            naive_impact=naive,
            improvement_pct=100.0 * (naive - allocation.cost) / naive if naive else 0.0,
            beyond_observed=self._beyond_observed(allocation.shares),
            allocation=allocation,
        )

    def _beyond_observed(self, shares: Float) -> int:
        if self.model.fit is None:
            return 0
        largest = recut(self.model.fit.diagnostics["largest_size"], self.n_intervals)
        beyond = int(np.sum(shares > largest))
        if beyond:
            logger.warning(
                "%d child orders exceed the largest size that their interval's fit saw: their cost is extrapolated",
                beyond,
            )
        return beyond
