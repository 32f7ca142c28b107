"""Plans, feeds and the study beside them, for the tests of a live desk."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from research_lib import evaluation as ev
from research_lib import studies
from research_lib.config import Json, ModelConfig, data_file
from research_lib.evaluation import Prior, sample_states
from research_lib.live import (
    Book,
    Engine,
    Journal,
    Plan,
    Settings,
    binance_feed,
    replay_events,
    work,
)
from research_lib.market import QualityPolicy, Session, preset
from research_lib.reporting import Project, RunConfig

CALM = {"stale_seconds": 300.0}  # what the recordings' own silences stop nothing with


def parameters(name: str, **changed: Any) -> dict[str, Any]:
    """Of the strategy notebook, by a configuration and some changes."""
    return RunConfig.load(name, Project()).effective["strategy"] | changed


def plan_of(name: str, given: dict[str, Any], **settings: Any) -> Plan:
    return Plan.of(name, given, Settings(**{"limits": CALM, **settings}))


def study(given: dict[str, Any]) -> list[ev.Execution]:
    """The orders that the cells of the strategy notebook work: sessions, both sides, strategies."""
    session = Session(given["n_intervals"], **given["session_settings"])
    quality, rng = QualityPolicy(**given["quality_settings"]), np.random.default_rng(given["seed"])
    path, reading = data_file(given["data_file_name"]), given["read_settings"]
    sessions = studies.Sessions.recorded(path, session, quality, **reading)
    fit_days, names = given["fit_days"], given["prior_presets"]
    elsewhere = {}
    if not fit_days:
        elsewhere = studies.draw_elsewhere(names, session, given["n_levels"], rng)
    config = ModelConfig.from_dict(given["model_settings"])
    curve = studies.curve_fit(given["model_type"], given["trade_sizes"], session, config)
    how = {"fit_days": fit_days, "refit_days": given["refit_days"], "elsewhere": elsewhere}
    decided = sessions.known(curve, **how)
    known = sessions.late(decided, given["latency_seconds"])
    ratio = given["optimizer_settings"]["max_allocation_ratio"]
    of = (given["total_shares"], ratio, given["objective"], given["urgency"])
    own = {name: given[name] for name in ("borrowed_from", "daily_volume", "urgency")}
    costs = studies.accountings(decided[0], session, given["side"], **own)
    experiment = studies.Experiment(sessions, known, costs, *of)
    latency = given["latency_seconds"]
    experiment, _ = studies.choose_forecast(experiment, curve, fit_days, latency)
    return experiment.orders()


def of_plan(done: list[ev.Execution], plan: Plan, name: str) -> ev.Execution:
    """The execution of the plan's session and side by a strategy."""
    begins = int(plan.session.starts([plan.day])[0, 0])
    (one,) = (
        one for one in done
        if one.name == name and one.side == plan.side and 0 <= one.time[0] - begins < 10**10
    )  # fmt: skip
    return one


@contextmanager
def paced(
    pause: Callable[[float], Awaitable[None]], tick_seconds: float = 3600.0
) -> Iterator[None]:
    """Binance's feed with other waits, and another clock where it is silent."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(binance_feed, "sleep", pause)
        patch.setattr(binance_feed, "TICK_SECONDS", tick_seconds)
        yield


async def no_pause(seconds: float) -> None:
    """Waits that take no time."""


class Desk:
    """An engine with its journal in a folder, and what it told, but the books: they would hold the recording."""

    def __init__(self, plan: Plan, folder: Path) -> None:
        self.told: list[Json] = []
        self.plan, self.journal = plan, Journal(folder / f"{plan.id}.jsonl")
        self.engine = Engine(plan, self.journal, self._hear)

    def _hear(self, record: Json) -> None:
        if record["kind"] != "book":
            self.told.append(record)

    def replayed(self, speed: float = math.inf) -> Desk:
        events = replay_events(self.plan.parts(), *self.plan.bounds, speed)
        asyncio.run(work(self.engine, events))
        self.journal.close()
        return self

    def of(self, kind: str) -> list[Json]:
        return [one for one in self.told if one["kind"] == kind]


MINUTES, HALF_HOURS = Session(390), Session(13)


def synthetic(side: str = "buy", latency: float = 20.0, **settings: Any) -> Plan:
    """The third of three synthetic days, in half-hours of which every minute is recorded."""
    market, rng = preset("thin_stock", MINUTES), np.random.default_rng(3)
    states = market.books(3 * 390, 5, rng, flow=market.flow)
    books = states.sample(HALF_HOURS)
    (day,) = books.days(HALF_HOURS)[2:]
    prior = Prior.from_books(books.take(np.arange(26)), side, HALF_HOURS, "two days")
    made = {one.name: one for one in ev.standard_strategies(prior, tick=market.tick)}
    chosen = Settings(**{"limits": {"stale_seconds": 60.0}, **settings})
    order = ev.Order(4_000.0, np.full(13, 1_000.0))
    pair = [made[chosen.strategy], made[chosen.benchmark or "TWAP"]]
    strategy, benchmark = ev.planned(pair, order)
    return Plan(
        name="synthetic", symbol=states.symbol, side=side, order=order, session=HALF_HOURS, day=day,
        strategy=strategy, benchmark=benchmark, source=prior.source, latency_seconds=latency,
        settings=chosen, recording=states,
    )  # fmt: skip


def replayed_by_study(plan: Plan, name: str = "") -> ev.Execution:
    """`evaluation.run` on the recording of a synthetic plan's day."""
    books = plan.recording.sample(HALF_HOURS)
    late = sample_states(plan.recording, HALF_HOURS, plan.latency_seconds)
    seen, met = (ev.Ladder.of(one, plan.side).by_day(13)[2] for one in (books, late))
    strategy = plan.benchmark if name == "benchmark" else plan.strategy
    cap = plan.order.caps[0]
    total = plan.order.total_shares
    return ev.run(strategy, met, total, plan.side, max_shares=cap, shown=seen)


SECOND, HALF_HOUR = 10**9, 1800 * 10**9
OPEN = int(HALF_HOURS.starts([date(2024, 1, 4)])[0, 0])  # of the synthetic plan
EVEN = 4_000.0 / 13


def book(seconds: float, bid: float = 49.99, ask: float = 50.01) -> Book:
    size = np.array([9_000.0])
    return Book(OPEN + round(seconds * SECOND), np.array([bid]), size, np.array([ask]), size)


def hear(desk: Desk, *events: Any) -> None:
    for event in events:
        desk.engine.handle(event)


def advised(desk: Desk) -> list[int]:
    return [one["t"] for one in desk.of("child")]


def stops(desk: Desk) -> list[tuple[str, str]]:
    told = [one for one in desk.told if one["kind"] in ("stop", "resume")]
    return [(one["kind"], one["guard"]) for one in told]


def at(interval: int, seconds: float) -> float:
    return 1800.0 * interval + seconds
