"""What an allocation returns: the schedule, its certificate and the trail of attempts."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from research_lib.config import Record
from research_lib.execution.attempts import Attempt

Float = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Allocation(Record):
    """A schedule with its certificate.

    Attributes
    ----------
    shares : (n,) shares
        Sums to the order within 1e-6 shares, inside the bounds.
    cost : float
        sum_t C_t(x_t), currency (under "impact": currency per share).
    marginal_cost : float
        What one more share would cost, of what was minimised: the multiplier, and under risk aversion
        what holding that share from the start adds.
    kkt_residual, duality_gap : float
        Relative; see `solvers.Certificate`. What was minimised exceeds its optimum by no more than the gap.
    objective : str
    solver : str
        The one whose answer this is; "vertex" where totals are concave.
    attempts : tuple of Attempt
        Every backend tried, in order; their gaps and residuals are those of the continuous schedule.
    elapsed : float
        Seconds over all attempts.
    relaxed : str
        How the bounds were relaxed to admit the order; empty if they were not.
    warnings : tuple of str
        What a careful reader should know: time ran out, bounds were relaxed.
    penalty : float
        What further terms add to the cost, in what was minimised.
    cross_check : Attempt, optional
        The second solver that agreed.
    discrete : str
        How shares were made whole lots, or children of a least size: see `allocate`. Gap and residual
        are then against the continuous problem: the gap holds what being discrete costs.
    odd_lot : int, optional
        The interval that takes the rest of the order below one lot.
    relaxed_caps : (n,) shares, optional
        The caps that the order was solved under, where bounds were relaxed.
    """

    shares: Float
    cost: float
    marginal_cost: float
    kkt_residual: float
    duality_gap: float
    objective: str
    solver: str
    attempts: tuple[Attempt, ...]
    elapsed: float
    relaxed: str = ""
    warnings: tuple[str, ...] = ()
    penalty: float = 0.0
    cross_check: Attempt | None = None
    discrete: str = ""
    odd_lot: int | None = None
    relaxed_caps: Float | None = None

    def _proof(self) -> str:
        """How far from the optimum; of a discrete schedule, with the residual before rounding."""
        above = f"at most {max(self.duality_gap, 0.0):.1e} of the cost above "
        if not self.discrete or not self.attempts:
            return f"{above}the optimum, KKT residual {self.kkt_residual:.1e}"
        residual = self.attempts[-1].kkt_residual
        return f"{above}what is proven to be the least; before rounding, KKT residual {residual:.1e}"

    def summary(self) -> str:
        """The certificate as text."""
        unit = "currency" if self.objective == "cost" else "currency per share, summed over the intervals"
        lines = [
            f"{self.shares.sum():,.6g} shares in {len(self.shares)} intervals, objective {self.objective!r}, "
            f"solver {self.solver}",
            f"cost {self.cost:,.6g} {unit}" + (f", further terms {self.penalty:,.6g}" if self.penalty else ""),
            f"the next share costs {self.marginal_cost:,.6g}",
            self._proof(),
            f"children from {self.shares.min():,.6g} to {self.shares.max():,.6g} shares, "
            f"{int(np.sum(self.shares > 0))} intervals traded",
        ]
        if self.discrete:
            lines.append(self.discrete)
        if self.cross_check is not None:
            lines.append(f"{self.cross_check.solver} ({self.cross_check.backend}) agrees: {self.cross_check.cost:,.6g}")
        lines += [
            f"tried: {a.solver} ({a.backend}), {'certified' if a.accepted else 'refused'} {a.reason}".rstrip()
            for a in self.attempts
        ]
        return "\n".join(lines + [f"warning: {text}" for text in self.warnings])
