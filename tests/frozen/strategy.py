"""The chain of the strategy notebook: a curve of earlier books, the schedule that it implies, orders replayed."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
from frozen.lines import FIRST_DAYS, ORDER_COLUMNS
from frozen.modeling import books_of, curve_facts, spread_out

from research_lib import ImpactModel, ModelConfig, OptimizerConfig
from research_lib.evaluation import Execution, Prior, compare, evaluate, standard_strategies
from research_lib.execution import Allocation, allocate, parts_of_day
from research_lib.impact import ExponentialKernel, ImpactCurve, LinearImpact
from research_lib.market import BookSnapshots, Session, preset
from research_lib.studies import dispersion_needed
from research_lib.transient import price_path

FEW_DAYS = 3  # a run that replays no more has its whole table recomputed


@dataclasses.dataclass(frozen=True)
class Known:
    """What a strategy run starts from."""

    books: BookSnapshots
    prior: Prior
    first_day: int
    session: Session


def known(p: dict[str, Any]) -> Known:
    """Books, and what the days before the first replayed one (or another stock) tell of the headline's side."""
    n, side, config = p["n_intervals"], p["side"], ModelConfig(**p["model_settings"])
    session, rng = Session(n, **p["session_settings"]), np.random.default_rng(p["seed"])

    def fit_curve(before: BookSnapshots, side: str) -> ImpactCurve:
        model = ImpactModel(p["model_type"], config, session)
        return model.fit_model(
            model.estimate_slippage(before, p["trade_sizes"], side, n), test_fraction=0
        ).curve

    books, _ = books_of(p, session, rng)
    if p["fit_days"]:
        before = books.take(np.arange(p["fit_days"] * n))
    else:
        before = preset(p["prior_preset"], session).books(20 * n, p["n_levels"], rng)
    return Known(
        books, Prior.from_books(before, side, session, "before", fit_curve), p["fit_days"], session
    )


def compute(p: dict[str, Any]) -> dict[str, Any]:
    """Of the schedule, and of the first orders; beside them the schedule itself, "shares" (n,)."""
    k, n, total = known(p), p["n_intervals"], p["total_shares"]
    cap = OptimizerConfig(**p["optimizer_settings"]).max_allocation_ratio * total
    curve = k.prior.curve
    allocation = allocate(curve, total, max_shares=cap, objective=p["objective"])
    equal = np.full(n, total / n)
    naive, price = float(curve.cost(equal).sum()), _arrival(k, n)
    facts = {
        "certificate": {"cost": allocation.cost, "marginal_cost": allocation.marginal_cost},
        "saved_in_sample": 100 * (naive - allocation.cost) / naive,
        "at_cap": int(np.sum(allocation.shares > cap - 0.5)),
        "idle": int(np.sum(allocation.shares < 0.5)),
        "memory": _memory(curve, allocation, cap, price),
        "parts_of_twap": parts_of_day(equal),
        "needed_sd": [dispersion_needed(saving) for saving in (0.15, 0.17)],
        "schedule": spread_out(allocation.shares),
        "curve": curve_facts(curve, np.array(p["trade_sizes"], float)),
        "volume": float(k.prior.volume.sum()),
    }
    if not p["data_file_name"]:
        truth = preset(p["preset_name"], k.session).true_curve
        facts["true_saving"] = 100 * (
            1 - truth.cost(allocation.shares).sum() / truth.cost(equal).sum()
        )
    executions = _replayed(p, k, cap, price)
    if len(k.books) // n - k.first_day <= FEW_DAYS:
        facts["strategies"] = compare(
            [one for day in executions for one in day], session=k.session
        ).T.to_dict()
    orders = {
        str(day): {
            done.name: {"filled": float(done.filled.sum())}
            | {name: done[name] for name in ORDER_COLUMNS[1:]}
            for done in one
        }
        for day, one in enumerate(executions[:FIRST_DAYS])
    }
    return {"strategy": facts, "orders": orders, "shares": allocation.shares}


def _arrival(k: Known, n: int) -> float:
    """The first mid of the first replayed day."""
    mid = k.books.mid[k.first_day * n :]
    return float(mid[np.isfinite(mid)][0])


def _replayed(p: dict[str, Any], k: Known, cap: float, price: float) -> list[list[Execution]]:
    """By day, the headline order by every strategy and by perfect foresight; of many days the first."""
    n = p["n_intervals"]
    n_days = len(k.books) // n - k.first_day
    how = {
        "rate": p["participation_rate"],
        "objective": p["objective"],
        "risk_aversion": p["risk_aversion"],
    }
    days = range(k.first_day, k.first_day + (n_days if n_days <= FEW_DAYS else FIRST_DAYS))
    return [
        evaluate(
            k.books.take(np.arange(day * n, (day + 1) * n)),
            k.session,
            {p["side"]: k.prior},
            sizes=[p["total_shares"]],
            make=lambda prior: standard_strategies(prior, price=price, **how),
            max_shares=cap,
        )
        for day in days
    ]


def _memory(
    curve: ImpactCurve, allocation: Allocation, cap: float, price: float
) -> dict[str, dict[str, float]]:
    """What TWAP, the static optimum and the optimum under memory cost, if impact decays with a half-life."""
    n, total = len(allocation.shares), float(allocation.shares.sum())
    equal, spread, at = np.full(n, total / n), curve.half_spread, np.arange(n)
    slope, rows = max(float(np.mean(curve.impact(equal) / equal)), 1e-9), {}
    for half_life in (0.25, 1.0, 4.0, 15.0, 60.0, 240.0):
        kernel = ExponentialKernel(np.log(2) / half_life, 2 * slope)
        aware = allocate(LinearImpact(np.zeros(n), spread), total, kernel=kernel, max_shares=cap)
        plans = equal, allocation.shares, aware.shares
        twap, static, best = (float(spread @ x + price_path(kernel, at, x).cost) for x in plans)
        saved = {"static_%": 100 * (1 - static / twap), "aware_%": 100 * (1 - best / twap)}
        rows[str(half_life)] = {"TWAP_bps": 1e4 * twap / total / price, **saved}
    return rows
