"""`TradeAllocator`: from a fitted model to a schedule, the second half of the facade."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from research_lib.checks import Float, number, refuse_unknown
from research_lib.config import OptimizerConfig, Record, SolverType
from research_lib.errors import ValidationError
from research_lib.execution import Allocation, allocate, share_caps, twap
from research_lib.execution.problem import coupling_of
from research_lib.impact_model import ImpactModel
from research_lib.monitoring import MONITOR

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Settings that `allocate` takes under the same name.
SETTINGS = ("max_iterations", "tolerance", "timeout_seconds", "validate_inputs", "validate_outputs")
LIMITS = ("participation_rate", "volume", "blackout")  # see `share_caps`
OPTIONS = ("on_infeasible", "lot_size", "cross_check", "kernel", "times", "covariance")
# Fields of an `Attempt`, by their names in the table of solvers.
COMPARED = {
    "backend": "backend", "cost": "cost", "duality_gap": "gap", "kkt_residual": "residual",
    "elapsed": "seconds", "iterations": "iterations", "accepted": "certified", "reason": "reason",
}  # fmt: skip
MARGINAL_UNITS = {"cost": "currency/share", "impact": "currency/share per share"}


@dataclass(frozen=True, eq=False)
class AllocationResult(Record):
    """What `TradeAllocator.optimize` returns.

    Attributes
    ----------
    optimal_allocation : (n,) shares
    total_impact, naive_impact : float
        Objective of the schedule and of equal shares, with the same curve, order and unit.
    improvement_pct : float
        100 * (naive - total) / naive, on the fitted curve: an in-sample figure.
    allocation : Allocation
        The certificate and the attempts.
    """

    optimal_allocation: Float
    total_impact: float
    naive_impact: float
    improvement_pct: float
    allocation: Allocation


class TradeAllocator:
    """Split one order over the intervals of a fitted model.

    No child order exceeds the share `config.max_allocation_ratio` of the order (30 %).

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
        self, impact_model: ImpactModel, total_shares: float, n_intervals: int | None = None,
        config: OptimizerConfig | None = None, objective: str = "cost",
    ) -> None:  # fmt: skip
        self.total_shares = number("total_shares", total_shares, above=0)
        self.config = OptimizerConfig() if config is None else config
        if not isinstance(self.config, OptimizerConfig):
            raise ValidationError(f"config must be an OptimizerConfig, got {type(config).__name__}")
        self.objective, curve, n = objective, impact_model.curve, n_intervals
        self.n_intervals = len(curve) if n is None else number("n_intervals", n, 1, integer=True)
        # For another number of intervals: the curve that holds at the middle of each.
        at = (2 * np.arange(self.n_intervals) + 1) * len(curve) // (2 * self.n_intervals)
        self.curve = curve.take(at)
        self.curve.total(objective)  # refuses an unknown one
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
            cross_check.
        """
        refuse_unknown(options, (*LIMITS, *OPTIONS, "risk_aversion"), "option")
        limits = {name: options.pop(name, None) for name in LIMITS}
        cap = self.config.max_allocation_ratio * self.total_shares
        self.caps = share_caps(self.n_intervals, max_shares=cap, **limits)
        self._problem = {"max_shares": self.caps, **options}
        with MONITOR.timing("optimize") as found:
            done = self._solved(self.config.default_solver if solver is None else solver)
            naive, own = self._costs(twap(self.total_shares, self.n_intervals).shares, done.shares)
            saving = 100.0 * (naive - own) / naive if naive else 0.0
            found["improvement_pct"] = saving
        if done.relaxed_caps is not None:
            self.caps = done.relaxed_caps
        self.result = AllocationResult(done.shares, own, naive, saving, done)
        return self.result

    def _costs(self, *schedules: Float) -> list[float]:
        """The last problem's objective of each schedule, without its risk term, currency."""
        n, order, option = self.n_intervals, self.total_shares, self._problem.get
        risk = option("risk_aversion", 0.0), option("covariance")
        joint = coupling_of(n, order, option("kernel"), option("times"), *risk, self.objective)
        later = [joint.value(x) - joint.risk(x)[0] if joint else 0.0 for x in schedules]
        now = (self.curve.total(self.objective).value(x).sum() for x in schedules)
        return [float(part) + more for part, more in zip(now, later, strict=True)]

    def _solved(self, solver: SolverType | str) -> Allocation:
        """The last problem under the configuration's settings."""
        given = {name: self.config[name] for name in SETTINGS} | self._problem
        given |= {"objective": self.objective, "min_shares": self.config.min_trade_size}
        return allocate(self.curve, self.total_shares, solver=solver, **given)

    def compare_solvers(self) -> pd.DataFrame:
        """Each solver's own answer to the last problem, without fallback.

        Returns
        -------
        DataFrame
            Index solver; backend, cost, gap (relative, proven), residual (KKT, relative), seconds,
            iterations, certified, reason; NaN where it gave no schedule.
        """
        rows = {}
        for solver in ("analytical", "cvxpy", "scipy"):
            attempts = self._solved(solver).attempts
            own = [one for one in attempts if one.solver == solver] or attempts
            rows[solver] = {name: own[-1][field] for field, name in COMPARED.items()}
        return pd.DataFrame.from_dict(rows, orient="index").rename_axis("solver")

    def plot_allocation(self, save_path: str | Path | None = None) -> "list[Axes]":
        """Plot the order: schedule with caps against TWAP, marginal cost, cumulative execution.

        Solves first if needed, and saves the figure if a path is given.
        """
        from research_lib.reporting import plot_order, save_figure

        result = self.result or self.optimize()
        baselines = {"TWAP": twap(self.total_shares, self.n_intervals).shares}
        total, shares = self.curve.total(self.objective), result.optimal_allocation
        coupled = any(self._problem.get(name) for name in ("kernel", "risk_aversion"))
        level = None if coupled else result.allocation.marginal_cost
        marginal = total.marginal_last(shares), total.marginal(0.0)
        unit = MARGINAL_UNITS[self.objective]
        axes = plot_order(shares, baselines, self.caps, *marginal, level, unit)
        if save_path is not None:
            save_figure(axes[0], save_path)
        return axes
