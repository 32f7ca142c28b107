"""`TradeAllocator`: the allocation half of the facade, from a fitted model to a schedule."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from research_lib.config import OptimizerConfig, Record, SolverType, number
from research_lib.errors import ValidationError
from research_lib.execution.allocation import Allocation, allocate
from research_lib.execution.schedules import twap
from research_lib.impact.curves import OBJECTIVES, recut
from research_lib.impact.model import ImpactModel

if TYPE_CHECKING:
    from matplotlib.axes import Axes

logger = logging.getLogger(__name__)
Float = NDArray[np.float64]


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
    """Split one order over the intervals of a fitted model.

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
            raise ValidationError(f"objective must be one of {', '.join(OBJECTIVES)}, got {objective!r}")
        self.total_shares = number("total_shares", total_shares, above=0)
        self.config = config or OptimizerConfig()
        self.objective = objective
        if not isinstance(impact_model, ImpactModel):
            raise ValidationError(f"impact_model must be an ImpactModel, got {type(impact_model).__name__}")
        self.model = impact_model
        curve = impact_model.curve
        self.n_intervals = len(curve) if n_intervals is None else number("n_intervals", n_intervals, 1, integer=True)
        self.curve = curve.recut(self.n_intervals)
        self.result: AllocationResult | None = None

    def optimize(self, solver: SolverType | str | None = None) -> AllocationResult:
        """Solve with `solver`, by default `config.default_solver`; see `allocate`."""
        config = self.config
        allocation = allocate(
            self.curve,
            self.total_shares,
            max_shares=config.max_allocation_ratio * self.total_shares,
            objective=self.objective,
            solver=solver or config.default_solver,
            max_iterations=config.max_iterations,
            tolerance=config.tolerance,
            timeout_seconds=config.timeout_seconds,
            validate_inputs=config.validate_inputs,
            validate_outputs=config.validate_outputs,
            min_trade_size=config.min_trade_size,
        )
        equal = twap(self.total_shares, self.n_intervals).shares
        naive = float(np.sum(self.curve.total(self.objective).value(equal)))
        self.result = AllocationResult(
            optimal_allocation=allocation.shares,
            total_impact=allocation.cost,
            naive_impact=naive,
            improvement_pct=100.0 * (naive - allocation.cost) / naive if naive else 0.0,
            beyond_observed=self._beyond_observed(allocation.shares),
            allocation=allocation,
        )
        return self.result

    def plot_allocation(self, save_path: str | Path | None = None, ax: Axes | None = None) -> Axes:
        """Draw the schedule against equal shares, with the cap; save it if asked. Solves first if need be.

        The one call upwards in the library: the facade's figure is drawn where all figures are.
        """
        from research_lib.reporting.plots import plot_schedules, save_figure

        result = self.result or self.optimize()
        cap = self.config.max_allocation_ratio * self.total_shares
        schedules = {
            "optimal": result.optimal_allocation,
            "TWAP": twap(self.total_shares, self.n_intervals).shares,
        }
        axes = plot_schedules(schedules, cap=cap, ax=ax)
        if save_path is not None:
            save_figure(axes, save_path)
        return axes

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
