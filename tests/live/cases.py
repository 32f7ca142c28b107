"""Plans, feeds and the study beside them, for the tests of a live desk."""

from __future__ import annotations

import asyncio
import math
from pathlib import Path
from typing import Any

import numpy as np

from research_lib import evaluation as ev
from research_lib import studies
from research_lib.config import Json, ModelConfig, data_file
from research_lib.live import Engine, Journal, Plan, Settings, replay_events, work
from research_lib.market import QualityPolicy, Session
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


class Desk:
    """An engine with its journal in a folder, and all that it told."""

    def __init__(self, plan: Plan, folder: Path) -> None:
        self.told: list[Json] = []
        self.plan, self.journal = plan, Journal(folder / f"{plan.id}.jsonl")
        self.engine = Engine(plan, self.journal, self.told.append)

    def replayed(self, speed: float = math.inf, **how: Any) -> Desk:
        events = replay_events(self.plan.parts(), *self.plan.bounds, speed, **how)
        asyncio.run(work(self.engine, events))
        self.journal.close()
        return self

    def of(self, kind: str) -> list[Json]:
        return [one for one in self.told if one["kind"] == kind]
