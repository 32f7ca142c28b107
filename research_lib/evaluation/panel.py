"""One strategy, many orders: the comparison by size, by side and by the part of the day."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import pandas as pd

from research_lib.evaluation.inference import RULER, compare
from research_lib.evaluation.replay import Execution
from research_lib.market import Session

LIMITS = ("", "_lower", "_upper")


def compare_groups(
    executions: Iterable[Execution], total_shares: float, session: Session, *, n_draws: int = 399
) -> dict[str, pd.DataFrame]:
    """`compare` of the orders of each kind.

    Parameters
    ----------
    executions : iterable of Execution
        As `walk_forward` gives: several sizes, sides and windows, the ruler and the bound.
    total_shares : float
        The size whose sides and windows are told apart.
    session : Session
        Tells the part of the day.
    n_draws : int
        Of the bootstraps.

    Returns
    -------
    dict of label to DataFrame
        Whole-day orders by size (both sides, see `size_label`), orders of `total_shares` by side
        (all windows) and by window (both sides). A group in which the ruler completes no order
        has a table without rows, of the saving and its limits only.
    """
    done = sorted(executions, key=lambda one: round(one.total_shares, 6))
    whole = [one for one in done if len(one.filled) == session.n_intervals]
    headline = [one for one in done if np.isclose(one.total_shares, total_shares)]
    labelled = [(size_label(one.total_shares), one) for one in whole]
    labelled += [(f"{one.side}, all windows", one) for one in headline]
    labelled += [
        (_part_of_day(one, session), one)
        for one in headline
        if len(one.filled) < session.n_intervals
    ]
    groups: dict[str, list[Execution]] = {}
    for label, one in labelled:
        groups.setdefault(label, []).append(one)
    nothing = pd.DataFrame(
        columns=[f"saving{limit}_%" for limit in LIMITS], dtype=float
    ).rename_axis("strategy")
    return {
        label: compare(group, n_draws=n_draws, session=session)
        if any(one.name == RULER and one.completed for one in group)
        else nothing
        for label, group in groups.items()
    }


def size_label(total_shares: float) -> str:
    """What `compare_groups` calls the whole-day orders of a size; 2.5 and 2.5 + 1e-16 are one."""
    return f"{round(total_shares, 6):,.12g} shares"


def panel(compared: Mapping[str, pd.DataFrame], strategies: Sequence[str]) -> pd.DataFrame:
    """Savings of some strategies in each group, per cent, with limits; NaN where one completed no order.

    Returns
    -------
    DataFrame
        Index group; columns <strategy>, <strategy>_lower, <strategy>_upper.
    """
    rows = {
        label: {
            f"{name}{limit}": table[f"saving{limit}_%"].get(name, np.nan)
            for name in strategies
            for limit in LIMITS
        }
        for label, table in compared.items()
    }
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("orders")


def _part_of_day(one: Execution, session: Session) -> str:
    first = int(session.interval_of(one.time[:1])[0])
    ends = [100 * at / session.n_intervals for at in (first, first + len(one.filled))]
    return f"{ends[0]:.0f} to {ends[1]:.0f} % of the day"
