"""The chain of the transient notebook: trades, propagators, kernels, the block book, and what splitting saves."""

from __future__ import annotations

from typing import Any

import numpy as np

from research_lib.config import data_file
from research_lib.execution import transient_schedule, twap
from research_lib.impact import ExponentialKernel, PowerKernel
from research_lib.market import Session, read_books
from research_lib.transient import (
    BlockBook,
    KernelFit,
    LagEstimate,
    SignedFlow,
    TransientMarket,
    best_kernel,
    clock_flow,
    fit_block_book,
    fit_kernel,
    flow_autocorrelation,
    price_path,
    propagator,
    propagators_by_event,
    response_function,
    trade_flow,
)  # fmt: skip

FAMILIES = ("exponential", "exponential_permanent", "power")


def compute(p: dict[str, Any]) -> dict[str, Any]:
    session, step = Session(1, **p["session_settings"]), p["step_seconds"]
    if p["data_file_name"]:
        books = read_books(data_file(p["data_file_name"]), session=session)
    else:
        market = TransientMarket(p["block_depth"], p["resilience"], p["permanent"])
        books = market.books(p["n_steps"], np.random.default_rng(p["seed"]))
    orders, clock = trade_flow(books, session), clock_flow(books, step, session)
    bps = 1e4 / float(np.mean(orders.mid))
    by_trade, by_clock = (
        propagator(orders, p["max_lag"]),
        propagator(clock, p["n_lags"]).scaled(bps),
    )
    kinds = propagators_by_event(orders, p["max_lag"])
    block = fit_block_book(
        books, step_seconds=step, n_lags=p["n_lags"], price_lags=p["max_lag"], session=session
    )
    best = {
        "by the clock": best_kernel(by_clock, FAMILIES),
        "in trades": best_kernel(by_trade.scaled(bps), FAMILIES),
    }
    facts = {
        "facts": _facts(orders)
        | {"half-spread (bps)": bps * float(np.nanmean(books.half_spread[books.complete]))},
        "mid": float(np.mean(orders.mid)),
        "unit_seconds": orders.step_seconds,
        "r2": by_trade.r2,
        "r2_kinds": kinds["changing"].r2,
        "first_lags": {
            "trades": bps * by_trade.values[0],
            "clock": by_clock.values[0],
            **_crowd(orders, clock, step),
        },
        "estimates": {
            "sign autocorrelation": _at_lags(flow_autocorrelation(orders, p["max_lag"])),
            "response": _at_lags(response_function(orders, p["max_lag"]).scaled(bps)),
            "propagator by trades": _at_lags(by_trade.scaled(bps)),
            "propagator by the clock": _at_lags(by_clock),
            **{f"propagator, {kind}": _at_lags(one.scaled(bps)) for kind, one in kinds.items()},
        },
        "half_lives": {
            f"{family.replace('_', ' + ')}, by {unit}": _half_life(
                fit_kernel(estimate, family), seconds
            )
            for unit, estimate, seconds in (
                ("trades", by_trade.scaled(bps), orders.step_seconds),
                ("clock", by_clock, 1.0),
            )
            for family in FAMILIES
        },
        "parameters": {
            name: dict(zip(("estimate", "low", "high"), span, strict=True))
            for name, span in (
                ("q (shares per currency)", block.block_depth),
                ("rho (per second)", block.resilience),
                ("lambda (currency per share squared)", block.permanent),
            )
        },
        "block_p": block.price.p_value,
        "spread_told": float(block.spread.identified),
    }
    return {"transient": facts | _schedules(p, orders, block, best)}


def _facts(orders: SignedFlow) -> dict[str, float]:
    return {
        "market orders": len(orders),
        "seconds between them": orders.step_seconds,
        "shares of one": float(np.mean(np.abs(orders.shares))),
        "share that moves the mid at once (%)": 100 * float(orders.changing.mean()),
    }


def _crowd(orders: SignedFlow, clock: SignedFlow, step: float) -> dict[str, float]:
    several = np.abs(clock.sign) > 1
    return {
        "soon_%": 100 * float(np.mean(np.diff(orders.time) < 1e9 * step)),
        "weight_%": 100 * float(np.sum(clock.sign[several] ** 2) / np.sum(clock.sign**2)),
    }


def _at_lags(estimate: LagEstimate) -> dict[str, dict[str, float]]:
    """Values and standard errors at the first, a middle and the last lag."""
    k = len(estimate.values)
    return {
        f"{estimate.lags[i]:g}": {"value": estimate.values[i], "se": estimate.se[i]}
        for i in (0, k // 2, k - 1)
    }


def _half_life(fit: KernelFit, seconds: float) -> dict[str, float]:
    known = (fit.half_life, *fit.interval) if fit.describes else (np.nan,) * 3
    times = {
        name: seconds * value
        for name, value in zip(("half_life", "low", "high"), known, strict=True)
    }
    return times | {
        "p_value": fit.p_value,
        "decays": float(fit.decays),
        "told": float(fit.identified),
    }


def _schedules(
    p: dict[str, Any], orders: SignedFlow, block: BlockBook, best: dict[str, KernelFit]
) -> dict[str, Any]:
    """What splitting an order saves: over half-lives, by the block book, by the decay of the mid."""
    n, total = p["n_intervals"], p["total_shares"]
    times, even = np.linspace(0.0, 60.0 * p["order_minutes"], n), twap(total, n).shares
    described = block.price.describes and block.spread.describes
    bounded = not described or block.decaying[0] <= 0
    ends = tuple(1.0 / block.block_depth[i] for i in (0, 2, 1)) if bounded else block.decaying
    decaying = np.maximum(ends, 0.0)
    unit, rows = 1e4 / (float(np.mean(orders.mid)) * total), {}

    def costs(
        kernel: ExponentialKernel | PowerKernel, at: np.ndarray
    ) -> tuple[float, float, np.ndarray]:
        plan = transient_schedule(kernel, at, total, min_shares=0.0)
        return price_path(kernel, at, even).cost, plan.cost, plan.shares

    for half_life in np.geomspace(0.2 * times[1], times[-1], 13):
        flat, optimal, shares = costs(ExponentialKernel(np.log(2) / half_life, decaying[0]), times)
        rows[f"{half_life:#.3g}".removesuffix(".")] = {
            "twap_bps": unit * flat,
            "optimal_bps": unit * optimal,
            "saving_%": 100 * (1 - optimal / flat),
            "first_%": 100 * shares[0] / total,
            "middle_%": 100 * shares[n // 2] / total,
        }
    found: dict[str, Any] = {
        "decaying": list(decaying),
        "bounded": float(bounded),
        "by_half_life": rows,
        "lives": {},
    }
    if block.spread.identified:
        found["lives"] = dict(
            zip(("estimate", "low end", "high end"), block.half_life, strict=True)
        )
    how = next((how for how, fit in best.items() if fit.identified), None)
    if how:
        fit, lag = best[how], 1.0 if how == "by the clock" else orders.step_seconds
        flat, optimal, shares = costs(fit.kernel, times / lag)
        lasting, scale = (
            0.5 * fit.permanent[0] * total**2,
            1.0 / (float(np.mean(np.abs(orders.shares))) * total),
        )
        found["from_mid"] = {
            f"{fit.family.replace('_', ' + ')}, {how}": {
                "half_life_s": fit.half_life * lag,
                "twap_bps": scale * (flat - lasting),
                "optimal_bps": scale * (optimal - lasting),
                "first_%": 100 * shares[0] / total,
                "middle_%": 100 * shares[n // 2] / total,
            }
        }
    return found
