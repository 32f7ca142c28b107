"""The chain of the strategy notebook: a curve of earlier books, the schedule that it implies, what orders cost."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
from frozen.lines import FIRST_DAYS, ORDER_COLUMNS
from frozen.modeling import curve_facts, spread_out

from research_lib import ImpactModel, ModelConfig, OptimizerConfig
from research_lib import evaluation as ev
from research_lib.config import data_file
from research_lib.execution import allocate
from research_lib.impact import ImpactCurve
from research_lib.market import BookSnapshots, QualityPolicy, Session, assess, preset, read_books
from research_lib.studies import price_grid


@dataclasses.dataclass(frozen=True)
class Started:
    """What a strategy run starts from."""

    known: list[ev.Known]  # with latency, where the recording has every state
    decided: list[ev.Known]
    states: BookSnapshots | None
    session: Session
    tick: float


def started(p: dict[str, Any]) -> Started:
    """Books, and what the sessions before the first evaluated ones (or other markets) say."""
    n, config = p["n_intervals"], ModelConfig(**p["model_settings"])
    session, rng = Session(n, **p["session_settings"]), np.random.default_rng(p["seed"])

    def fit_curve(before: BookSnapshots, side: str) -> ImpactCurve:
        model = ImpactModel(p["model_type"], config, session)
        return model.fit_model(
            model.estimate_slippage(before, p["trade_sizes"], side, n), test_fraction=0
        ).curve

    if p["data_file_name"]:
        raw = read_books(data_file(p["data_file_name"]), session=session, **p["read_settings"])
    else:
        market = preset(p["preset_name"], session)
        raw = market.books(p["n_days"] * n, p["n_levels"], rng, flow=market.flow)
    states, _ = assess(raw, session, QualityPolicy(**p["quality_settings"]))
    books = states.sample(session)
    tick = price_grid(states) if p["data_file_name"] else market.tick
    if p["fit_days"]:
        first = p["fit_days"] + FIRST_DAYS
        known = ev.known_before(
            books.take(np.arange(min(first * n, len(books)))), session, n_fitted=p["fit_days"],
            first=p["fit_days"], refit_every=p["refit_days"], fit=fit_curve,
        )  # fmt: skip
    else:
        markets = [preset(name, session) for name in p["prior_presets"]]
        drawn = [one.books(20 * n, p["n_levels"], rng, flow=one.flow) for one in markets]
        others = dict(zip(p["prior_presets"], drawn, strict=True))
        known = ev.known_elsewhere(books, others, session, fit=fit_curve)
    if not p["data_file_name"]:
        return Started(known, known, None, session, tick)
    late = ev.with_latency(known, states, session, p["latency_seconds"])
    return Started(late, known, states, session, tick)


def compute(p: dict[str, Any]) -> dict[str, Any]:
    """Of the schedule, and of the first orders; beside them the schedule itself, "shares" (n,)."""
    s, n, total = started(p), p["n_intervals"], p["total_shares"]
    cap = OptimizerConfig(**p["optimizer_settings"]).max_allocation_ratio * total
    prior = s.known[0].priors[p["side"]]
    curve = prior.curve
    allocation = allocate(curve, total, max_shares=cap, objective=p["objective"])
    naive = float(curve.cost(np.full(n, total / n)).sum())
    cases = ev.scenarios(
        s.decided[0], s.session, borrowed_from=p["borrowed_from"], daily_volume=p["daily_volume"]
    )
    facts = {
        "certificate": {"cost": allocation.cost, "marginal_cost": allocation.marginal_cost},
        "saved_in_sample": 100 * (naive - allocation.cost) / naive,
        "risk_aversion": prior.risk_aversion(p["urgency"]) if p["fit_days"] else 0.0,
        "kernels": {
            case.scenario: {"after 1 h": float(case.kernel(3600.0))}
            for case in cases
            if case.kernel is not None
        },
        "schedule": spread_out(allocation.shares),
        "curve": curve_facts(curve, np.array(p["trade_sizes"], float)),
        "volume": float(prior.volume.sum()),
    }
    accounting = ev.Accounting(cases[1], fee_per_share=p["fee_per_share"])
    done = ev.walk_forward(
        s.known, s.session, sizes=[total], max_shares=cap,
        make=lambda prior: ev.standard_strategies(
            prior, objective=p["objective"], urgency=p["urgency"], tick=s.tick,
        ),
    )  # fmt: skip
    table = ev.order_costs([one for one in done if one.side == p["side"]], accounting, s.states)
    days = {start: str(day) for day, start in enumerate(sorted(table["start"].unique()))}
    orders: dict[str, Any] = {day: {} for day in days.values()}
    for _, row in table.iterrows():
        orders[days[row["start"]]][row["strategy"]] = {name: row[name] for name in ORDER_COLUMNS}
    return {"strategy": facts, "orders": orders, "shares": allocation.shares}
