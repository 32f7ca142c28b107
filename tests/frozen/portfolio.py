"""The chain of the portfolio notebook: what is measured of the stocks, and the schedules that follow from it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from research_lib.config import data_file
from research_lib.execution import (
    PortfolioSchedule,
    almgren_chriss,
    least_value_at_risk,
    portfolio_schedule,
    price_portfolio,
)  # fmt: skip
from research_lib.impact import fit_impact, slippage_curves
from research_lib.market import Session, preset, read_books, summarise
from research_lib.transient import calibrate_almgren_chriss


def measure(p: dict[str, Any]) -> dict[str, Any]:
    """The stocks' table; of real stocks what quotes alone tell, the half-spread."""
    session, n = Session(p["n_intervals"], **p["session_settings"]), p["n_intervals"]
    if p["quote_file_names"]:
        rows = {}
        for name in p["quote_file_names"]:
            quotes = read_books(data_file(name))
            rows[quotes.symbol] = {"half_spread": 0.5 * float(summarise(quotes, session)["spread"])}
        return {"stocks": rows}
    streams = np.random.default_rng(p["seed"]).spawn(2)[0].spawn(len(p["preset_names"]))
    rows = {}
    for name, value, rng in zip(p["preset_names"], p["order_values"], streams, strict=True):
        books = preset(name, session).books(p["n_days"] * n, 10, rng)
        side, price = "sell" if value >= 0 else "buy", float(books.mid[-1])
        child, depth = abs(value) / price / n, float(np.median(books.levels(side)[1][:, 0]))
        sizes = np.linspace(0.25, 1.0, 6) * max(4.0 * child, 1.5 * depth)
        slippage = slippage_curves(books, sizes, side).to_frame(n, session)
        fit = fit_impact(slippage, "linear", n_intervals=n, test_fraction=0.0, session=session)
        known = calibrate_almgren_chriss(books, fit, session, interval=1.0 / n)
        rows[name] = {
            "price": price,
            "order_shares": value / price,
            "mean_child_shares": child,
            "volatility_bps": 1e4 * known["volatility"] / price,
            "half_spread_bps": 1e4 * known["half_spread"] / price,
            "its_impact_bps": 1e4 * known["temporary"] * n * child / price,
        }
    return {"stocks": rows}


def compute(p: dict[str, Any], stated: Mapping[tuple[str, str], float]) -> dict[str, Any]:
    """Schedules of the stocks as the frozen lines state them: no data is needed, and a measurement that moves
    turns its own lines red and not these."""
    n, risk, confidence = p["n_intervals"], p["risk_aversion"], p["confidence"]
    names = list(dict.fromkeys(key.split("/")[0] for section, key in stated if section == "stocks"))
    names = [name for name in names if ("stocks", f"{name}/order_shares") in stated]
    price, orders, volatility, spread, impact, child = (
        np.array([stated["stocks", f"{name}/{what}"] for name in names])
        for what in (
            "price", "order_shares", "volatility_bps", "half_spread_bps", "its_impact_bps", "mean_child_shares",
        )
    )  # fmt: skip
    m, gross = len(names), float(np.abs(p["order_values"]).sum())
    correlation = np.array(
        [[stated["portfolio", f"correlation/{i}/{j}"] for j in range(m)] for i in range(m)]
    )
    volatility, temporary = volatility * price / 1e4, impact * price / 1e4 / n / child
    market = {
        "covariance": correlation * np.outer(volatility, volatility),
        "temporary": temporary,
        "half_spread": spread * price / 1e4,
        "interval": 1.0 / n,
    }
    singles = [
        {"volatility": v, "temporary": eta, "half_spread": half, "interval": 1.0 / n}
        for v, eta, half in zip(volatility, temporary, market["half_spread"], strict=True)
    ]
    alone = [
        almgren_chriss(x, n, risk_aversion=risk, **one)
        for x, one in zip(orders, singles, strict=True)
    ]
    least = [
        least_value_at_risk(x, n, confidence, **one)[0]
        for x, one in zip(orders, singles, strict=True)
    ]
    together = portfolio_schedule(orders, n, risk_aversion=risk, **market)
    ways = {
        "TWAP": price_portfolio(np.tile(orders / n, (n, 1)), **market),
        "asset by asset": price_portfolio(np.column_stack([one.shares for one in alone]), **market),
        "portfolio": together,
    }
    unit, unavoidable = 1e4 / gross, float(np.abs(orders) @ market["half_spread"])

    def row(s: PortfolioSchedule) -> dict[str, float]:
        objective = s.expected_cost + risk * s.variance
        costs = (
            s.expected_cost,
            s.variance**0.5,
            s.value_at_risk(confidence),
            objective,
            objective - unavoidable,
        )
        named = ("cost_bps", "deviation_bps", "VaR_bps", "cost_plus_risk_bps", "beyond_spread_bps")
        return {name: unit * cost for name, cost in zip(named, costs, strict=True)}

    compared = {way: row(schedule) for way, schedule in ways.items()}
    beyond = {way: one["beyond_spread_bps"] for way, one in compared.items()}
    gamma = _cross_impact(p, temporary * n, correlation)
    symmetric = (gamma + gamma.T) / 2
    planned = portfolio_schedule(orders, n, risk_aversion=risk, permanent=symmetric, **market)
    plans = {way: s for way, s in ways.items() if way != "portfolio"}
    plans |= {"portfolio, ignoring it": together, "portfolio, planning for it": planned}
    net = abs(float(np.sum(p["order_values"])))
    neutral = portfolio_schedule(
        orders,
        n,
        risk_aversion=risk,
        exposures=price,
        min_exposure=-net,
        max_exposure=net,
        **market,
    )
    parts = together.attribution.set_axis(names)
    facts = {
        "alone": {
            name: {
                "half_life_%": 100 * s.half_life,
                "theta_%": 100 * s.theta,
                "cost_bps": 1e4 / abs(value) * s.expected_cost,
                "deviation_bps": 1e4 / abs(value) * s.variance**0.5,
                "VaR_bps": 1e4 / abs(value) * s.value_at_risk(confidence),
                "L_VaR_bps": 1e4 / abs(value) * best.value_at_risk(confidence),
            }
            for name, s, best, value in zip(names, alone, least, p["order_values"], strict=True)
        },
        "compared": compared,
        "saved": {
            way: 100 * (1 - beyond["portfolio"] / beyond[way]) for way in ("TWAP", "asset by asset")
        },
        "crossed": {
            what: row(price_portfolio(s.shares, permanent=symmetric, **market))
            for what, s in plans.items()
        },
        "constrained": {"portfolio": compared["portfolio"], "cash-neutral": row(neutral)},
        "kept": 100 * (row(neutral)["beyond_spread_bps"] / beyond["portfolio"] - 1),
        "attribution": {
            name: {
                "spread_bps": unit * parts["spread"][name],
                "impact_bps": unit * parts["temporary"][name],
                "cost_%": 100 * parts["cost"][name] / parts["cost"].sum(),
                "variance_%": 100 * parts["variance"][name] / parts["variance"].sum(),
            }
            for name in names
        },
        "first child_%": dict(zip(names, 100 * together.shares[0] / orders, strict=True)),
        "held half-way_%": dict(zip(names, 100 * together.holdings[n // 2] / orders, strict=True)),
    }
    return {"portfolio": facts}


def _cross_impact(p: dict[str, Any], slope: np.ndarray, correlation: np.ndarray) -> np.ndarray:
    """The notebook's assumed permanent impact: c rho sqrt(own own) (1 +- a), plus above the diagonal."""
    own, at = p["permanent_share"] * slope, np.arange(len(slope))
    lean = 1.0 + p["cross_asymmetry"] * np.sign(at[None, :] - at[:, None])
    gamma = p["cross_share"] * correlation * np.sqrt(np.outer(own, own)) * lean
    np.fill_diagonal(gamma, own)
    return gamma
