"""What was evaluated is what runs: live decisions are the study's replay, bit for bit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers import real_data
from live.cases import Desk, of_plan, parameters, plan_of, study

from research_lib.evaluation import Execution

pytestmark = pytest.mark.slow
HOURS = "standx_btc_l20/orderbook_BTC-USD_2026-01-06_0[0-5].parquet"
MARKETS: dict[str, tuple[str, dict[str, Any]]] = {
    "GOOG, LOBSTER": ("goog", {}),
    "BTC, StandX, the sixth hour": ("btc", {"data_file_name": HOURS, "fit_days": 5}),
    "FROG, Databento, a sale": ("frog_sell", {}),
}


@pytest.fixture(scope="module", params=MARKETS)
def market(request: pytest.FixtureRequest) -> tuple[str, dict[str, Any], list[Execution]]:
    name, changed = MARKETS[request.param]
    given = parameters(name, **changed)
    real_data(given["data_file_name"].replace("[0-5]", "0"))
    return name, given, study(given)


@pytest.mark.parametrize(("strategy", "beside"), [("adaptive", "TWAP"), ("static optimal", "")])
def test_live_decisions_are_the_studys(
    market: tuple[str, dict[str, Any], list[Execution]], strategy: str, beside: str, tmp_path: Path
) -> None:
    name, given, done = market
    plan = plan_of(name, given, strategy=strategy, benchmark=beside)
    desk = Desk(plan, tmp_path).replayed()
    for worked, of in ((desk.engine.own, strategy), (desk.engine.benchmark, plan.benchmark.name)):
        one = of_plan(done, plan, of)
        assert np.array_equal(worked.filled, one.filled)
        assert np.array_equal(worked.cost, one.cost_by_interval)
    assert not desk.of("stop")
    children = desk.of("child")
    assert len({one["id"] for one in children}) == len(children) > 0
