"""Own orders: parts that add up and are known, faults by name, groups, forecasts, other schedules."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm
from helpers import real_data
from scipy import stats

from research_lib.errors import InsufficientDataError, ValidationError
from research_lib.evaluation import (
    DESK_PARTS,
    FAULTS,
    CarriedImpact,
    Tape,
    analyse_orders,
    beside_own,
    calibration,
    checked_desk,
    fill_costs,
    group_costs,
    implementation_shortfall,
    known_before,
    outliers,
    pre_trade_costs,
    read_fills,
    read_orders,
)
from research_lib.evaluation.tca import carried_cost
from research_lib.impact import ExponentialKernel, ExponentialSumKernel
from research_lib.market import BookSnapshots, Session, Trades, read_books
from research_lib.studies import fictitious_orders, recovered_parts, synthetic_desk
from research_lib.studies.desk import SyntheticDesk

PARTS = list(DESK_PARTS)
MINUTE = 60 * 10**9
OPEN = 1_704_205_800_000_000_000  # 2024-01-02 09:30 New York


@pytest.fixture(scope="module")
def made() -> SyntheticDesk:
    return synthetic_desk(400, np.random.default_rng(7))


@pytest.fixture(scope="module")
def tapes(made: SyntheticDesk) -> dict[str, Tape]:
    return {name: Tape.of(books, made.session) for name, books in made.books.items()}


@pytest.fixture(scope="module")
def known_kernels(made: SyntheticDesk) -> dict[str, CarriedImpact]:
    return {name: CarriedImpact("measured", one.kernel) for name, one in made.markets.items()}


@pytest.fixture(scope="module")
def table(made: SyntheticDesk, tapes: Any, known_kernels: Any) -> pd.DataFrame:
    return analyse_orders(checked_desk(made.orders, made.fills, tapes), tapes, known_kernels)


def test_every_part_of_a_known_desk_is_recovered(made: SyntheticDesk, table: pd.DataFrame) -> None:
    """With the market's own kernel; what a kernel measured on earlier sessions adds is its error."""
    assert len(table) == 400
    truth = made.truth.loc[table.index, PARTS]
    np.testing.assert_allclose(table[PARTS], truth, rtol=0, atol=1e-9)
    assert (truth.drop(columns="opportunity_bps").abs().mean() > 0.1).all(), "no part is idle"


def test_the_parts_are_the_implementation_shortfall(
    made: SyntheticDesk, table: pd.DataFrame
) -> None:
    """As the function of that name says it, which knows neither books nor fills' times."""
    desk = made.orders.set_index("order_id")
    for order_id, row in table.iloc[::25].iterrows():
        order, tape = desk.loc[order_id], Tape.of(made.books[row["symbol"]], made.session)
        times = (order[name].as_unit("ns").value for name in ("decision_time", "arrival_time"))
        decision, arrival = tape.mid_at(np.array([*times]))
        day = made.session.days(tape.time) == row["day"]
        closing = tape.mid[day][-1]
        if pd.notna(order["end_time"]):
            closing = tape.mid_at(np.array([order["end_time"].as_unit("ns").value]))[0]
        own = made.fills[made.fills["order_id"] == order_id]
        whole = implementation_shortfall(
            own, side=order["side"], total_shares=order["shares"], decision_price=decision,
            arrival_price=arrival, closing_price=closing, fees=own["fee"].sum(),
        )  # fmt: skip
        scale = 1e4 / (order["shares"] * arrival)
        assert row["total_bps"] == pytest.approx(scale * whole.total, abs=1e-9)
        assert row["trading_bps"] == pytest.approx(scale * whole.trading, abs=1e-9)


def test_timing_and_delay_are_0_on_average(table: pd.DataFrame) -> None:
    """The mid is a random walk but for impact: within three errors that cluster by day."""
    for part in ("delay_bps", "timing_bps"):
        by_day = table.groupby("day")[part].agg(["sum", "size"])
        mean = by_day["sum"].sum() / by_day["size"].sum()
        error = np.sqrt(np.sum((by_day["sum"] - mean * by_day["size"]) ** 2)) / len(table)
        assert abs(mean) < 3.0 * error


def test_a_kernel_of_earlier_sessions_recovers_carried_impact_up_to_its_error(
    made: SyntheticDesk, tapes: dict[str, Tape]
) -> None:
    how: dict[str, Any] = {"n_fitted": 20, "first": 20, "refit_every": 20, "on_jump": "carry"}
    carried = {
        name: known_before(books, made.session, sides=["buy"], **how)[0].priors["buy"].carried
        for name, books in made.books.items()
    }
    found = analyse_orders(checked_desk(made.orders, made.fills, tapes), tapes, carried)
    rows = recovered_parts(found, made.truth.loc[found.index], carried)
    exact = ["delay", "spread", "walk", "opportunity", "fees"]
    assert rows.loc[exact, "difference_bps"].abs().max() < 1e-9
    decays = [name for name, one in carried.items() if "half-life" in one.source]
    assert decays, "a decay is identified on one market at least"
    for name in decays:
        gap, error = rows.loc[f"carried, {name}", ["difference_bps", "standard error_bps"]]
        assert abs(gap) < 3.0 * error


def test_carried_cost_is_the_double_sum() -> None:
    rng, kernel = np.random.default_rng(0), ExponentialSumKernel((0.0, 0.01), (1e-3, 2e-3))
    at = np.repeat([0, 2], [700, 40])  # more fills than lags are held at once; order 1 has none
    time = np.sort(rng.integers(0, 10**12, len(at)))
    time[1] = time[0]  # fills of one time do not displace each other
    shares = rng.uniform(1.0, 9.0, len(at))
    found = carried_cost(at, time, shares, kernel, 3)
    for order in range(3):
        t, x = time[at == order] / 1e9, shares[at == order]
        pairs = sum(
            x[i] * x[j] * float(kernel(t[i] - t[j])) for i in range(len(t)) for j in range(i)
            if t[i] > t[j]
        )  # fmt: skip
        assert found[order] == pytest.approx(pairs, rel=1e-12)


def small_market() -> tuple[BookSnapshots, Session]:
    """Two days of four quarter-sessions: mids 10, 11, 12, 13 on both, a spread of 0.2."""
    session = Session(4)
    time = session.starts([pd.Timestamp("2024-01-02").date(), pd.Timestamp("2024-01-03").date()])
    mid = np.tile([10.0, 11.0, 12.0, 13.0], 2)[:, None]
    size = np.full((8, 1), 100.0)
    trades = Trades(
        time.ravel() + 1, np.full(8, 10.0) + np.arange(8), np.full(8, 5.0), np.ones(8, int)
    )
    return BookSnapshots(
        time.ravel(), mid - 0.1, size, mid + 0.1, size, "A", trades=trades
    ), session


def test_a_tape_averages_over_time_without_the_night() -> None:
    books, session = small_market()
    tape, (first, *_, last) = Tape.of(books, session), books.time
    quarter = books.time[1] - books.time[0]
    two = np.array([first]), np.array([first + 2 * quarter])
    assert tape.mean_mid(*two) == pytest.approx([10.5])
    # Up to the last state of the first day 10, 11, 12 stand a quarter each; the night counts 0.
    assert tape.mean_mid(np.array([first]), np.array([last])) == pytest.approx([11.0])
    assert tape.mean_mid(np.array([first]), np.array([first])) == pytest.approx([10.0])
    shares, price = tape.traded(*two)
    assert (shares.tolist(), price.tolist()) == ([10.0], [10.5])
    assert tape.closing(np.array([first, last])).tolist() == [books.time[3], last]
    assert np.isnan(tape.mid_at(np.array([first - 1]))).all()
    batches = [
        books.take(np.arange(3)),
        dataclasses.replace(books.take(np.arange(3, 8)), trades=None),
    ]
    assert Tape.of(batches, session).mid.tolist() == tape.mid.tolist()


ARRIVAL = pd.Timestamp("2024-01-02 14:40", tz="UTC")


def own_rows() -> tuple[pd.DataFrame, pd.DataFrame]:
    """Three orders on that market without a fault, of two fills each."""
    orders = pd.DataFrame({
        "order_id": ["x", "y", "w"], "symbol": "A", "side": ["buy", "SELL", "s"],
        "shares": [10.0, 20.0, 30.0], "decision_time": ARRIVAL - pd.Timedelta("1min"),
        "arrival_time": ARRIVAL, "end_time": ARRIVAL + pd.Timedelta("30min"),
    })  # fmt: skip
    fills = pd.DataFrame({
        "order_id": list("xxyyww"), "time": ARRIVAL + pd.to_timedelta([1, 2] * 3, "min"),
        "shares": [4.0, 6.0, 5.0, 5.0, 5.0, 6.0], "price": [10.1, 10.1, 9.9, 9.9, 9.9, 9.9],
    })  # fmt: skip
    return orders, fills


FAULTY: dict[str, tuple[str, int, str, Any]] = {  # table, row, column, value
    "duplicate order": ("orders", 0, "order_id", "y"),
    "unknown side": ("orders", 0, "side", "short"),
    "order size not above 0": ("orders", 0, "shares", -10.0),
    "order times missing or out of order": (
        "orders",
        0,
        "decision_time",
        ARRIVAL + pd.Timedelta("1s"),
    ),
    "unknown symbol": ("orders", 0, "symbol", "B"),
    "order outside the market data": ("orders", 0, "decision_time", ARRIVAL - pd.Timedelta("9D")),
    "arrival outside the session": ("orders", 0, "arrival_time", ARRIVAL + pd.Timedelta("9h")),
    "unknown liquidity flag": ("fills", 0, "liquidity", "maker"),
    "duplicate fill": ("fills", 0, "", None),
    "unknown order": ("fills", 0, "order_id", "q"),
    "fill size or price not above 0": ("fills", 0, "price", 0.0),
    "fill before arrival": ("fills", 0, "time", ARRIVAL - pd.Timedelta("1s")),
    "fill after the end": ("fills", 0, "time", ARRIVAL + pd.Timedelta("31min")),
    "price outside the day's range": ("fills", 0, "price", 14.0),
    "more filled than ordered": ("fills", 0, "shares", 5.0),
}


def test_each_fault_has_a_case() -> None:
    assert set(FAULTY) == set(FAULTS)


@pytest.mark.parametrize("kind", FAULTY)
def test_a_fault_is_named_counted_and_leaves_its_order_out(kind: str) -> None:
    books, session = small_market()
    tapes, (orders, fills) = {"A": Tape.of(books, session)}, own_rows()
    assert checked_desk(orders, fills, tapes, ["all"]).faults["rows"].sum() == 0
    table, row, column, value = FAULTY[kind]
    changed = {"orders": orders, "fills": fills}
    if column:
        changed[table].loc[row, column] = value
    else:
        changed[table] = pd.concat([fills.iloc[:1], fills])
    desk = checked_desk(changed["orders"], changed["fills"], tapes)
    assert desk.faults.loc[kind, "rows"] >= 1
    assert desk.faults.loc[kind, "first"].startswith("row 0 of ")
    left = {"unknown order": ["x", "y", "w"], "duplicate order": ["w"]}.get(kind, ["y", "w"])
    assert desk.orders.index.tolist() == left
    with pytest.raises(ValidationError, match=kind):
        checked_desk(changed["orders"], changed["fills"], tapes, [kind])
    with pytest.raises(ValidationError, match="did you mean"):
        checked_desk(orders, fills, tapes, [kind[:-1]])


def test_a_fill_on_a_day_without_market_data_is_not_priced_by_the_day_before() -> None:
    books, session = small_market()
    orders, fills = own_rows()
    fills.loc[1, "time"] += pd.Timedelta("1D")
    first_day = {"A": Tape.of(books.take(np.arange(4)), session)}
    faults = checked_desk(orders.drop(columns="end_time"), fills, first_day).faults
    assert faults.loc["price outside the day's range", "orders"] == 1


def test_ids_are_text_whatever_their_type_and_foreign_fills_are_refused() -> None:
    books, session = small_market()
    tapes, (orders, fills) = {"A": Tape.of(books, session)}, own_rows()
    numbers = {"x": 1, "y": 2, "w": 3}
    counted = orders.assign(order_id=orders["order_id"].map(numbers))
    named = fills.assign(order_id=fills["order_id"].map(numbers).astype(float))
    desk = checked_desk(counted, named, tapes, "all")
    assert desk.orders.index.tolist() == ["1", "2", "3"]
    assert len(desk.fills) == 6
    with pytest.raises(ValidationError, match="no fill is of any of these orders"):
        checked_desk(counted, fills, tapes)


def test_a_fault_is_shown_as_it_was_given_and_not_again_by_its_fills() -> None:
    books, session = small_market()
    tapes, (orders, fills) = {"A": Tape.of(books, session)}, own_rows()
    wrong = orders.assign(shares=["1,000", 20.0, 30.0], side=["SS", "2", "s"])
    faults = checked_desk(wrong, fills, tapes).faults
    assert faults.loc["order size not above 0", "first"] == "row 0 of orders, order x, shares 1,000"
    assert faults.loc["unknown side", "first"].endswith("side SS")
    assert faults.loc["more filled than ordered", "rows"] == 0


def test_no_order_left_says_why() -> None:
    books, session = small_market()
    orders, fills = own_rows()
    with pytest.raises(ValidationError, match=r"no order can be analysed(.|\n)*unknown symbol"):
        checked_desk(orders.assign(symbol="B"), fills, {"A": Tape.of(books, session)})


def test_orders_are_read_under_other_names_and_zones(tmp_path: Path) -> None:
    path = tmp_path / "orders.csv"
    path.write_text("id,sym,way,qty,sent,due\n1,A,B,10,2024-01-02 09:40,2024-01-02T16:00:00Z\n")
    names = {
        "id": "order_id",
        "sym": "symbol",
        "way": "side",
        "qty": "shares",
        "sent": "arrival_time",
    }
    orders = read_orders(path, names | {"due": "end_time"}, "America/New_York")
    assert orders.loc[0, "arrival_time"] == ARRIVAL
    assert orders.loc[0, "end_time"] == pd.Timestamp("2024-01-02 16:00Z")
    with pytest.raises(ValidationError, match="arrival_time has no time zone"):
        read_orders(path, names)
    with pytest.raises(ValidationError, match="did you mean 'sent'"):
        read_orders(path, {"sen": "arrival_time"})
    fills = pd.DataFrame(
        {"order_id": [1], "time": [1_704_206_400], "shares": [1.0], "price": [1.0]}
    )
    with pytest.raises(ValidationError, match="looks like seconds"):
        read_fills(fills)
    unread = read_fills(fills.assign(time="noon", price="ten"), timezone="UTC")
    assert unread["time"].isna().all(), "left to checked_desk, which names it"
    two_readings = read_fills(fills.assign(time=["02/01/2024 09:50"]), timezone="UTC")
    assert two_readings["time"].isna().all(), "neither February nor January"
    with pytest.raises(ValidationError, match="use a name like America/New_York"):
        read_fills(fills.assign(time="noon"), timezone="New York")
    with pytest.raises(ValidationError, match="fills lack price; they have order_id, time, shares"):
        read_fills(fills.drop(columns="price"))
    parquet = tmp_path / "fills.parquet"
    fills.assign(time=[ARRIVAL]).to_parquet(parquet)
    assert read_fills(parquet).loc[0, "time"] == ARRIVAL


def test_a_resting_fill_earns_the_half_spread_and_a_flag_decides() -> None:
    books, session = small_market()
    tapes, (orders, fills) = {"A": Tape.of(books, session)}, own_rows()
    fills.loc[0, "price"] = 9.9  # a buy at the bid
    rows = fill_costs(checked_desk(orders, fills, tapes), tapes)
    assert rows["spread_bps"].iloc[0] == pytest.approx(-rows["spread_bps"].iloc[1])
    assert rows["walk_bps"].abs().max() < 1e-9
    flagged = fills.assign(liquidity=["removed", "removed", None, None, None, None])
    rows = fill_costs(checked_desk(orders, flagged, tapes), tapes)
    assert rows["spread_bps"].iloc[0] == pytest.approx(rows["spread_bps"].iloc[1])
    assert rows["walk_bps"].iloc[0] == pytest.approx(-2.0 * rows["spread_bps"].iloc[0])


def test_what_is_not_filled_costs_the_move_from_the_decision_to_the_end() -> None:
    books, session = small_market()
    orders, fills = own_rows()
    later = orders.drop(columns="end_time")  # valued at the last mid of the day, 13
    found = analyse_orders(
        checked_desk(later, fills, tapes := {"A": Tape.of(books, session)}), tapes
    )
    assert found.loc["y", "opportunity_bps"] == pytest.approx(-1e4 * 10 * (13 - 10) / (20 * 10))
    assert found.loc["x", "opportunity_bps"] == 0.0
    assert found["filled_%"].round(2).tolist() == [100.0, 50.0, 36.67]
    # A fill of nothing: all is opportunity, by the mid of the end.
    none = analyse_orders(checked_desk(orders, fills[fills["order_id"] == "y"], tapes), tapes).loc[
        "x"
    ]
    assert none["total_bps"] == none["opportunity_bps"]
    assert np.isnan(none["arrival_bps"])


def test_groups_differ_as_a_weighted_regression_says(table: pd.DataFrame) -> None:
    """On an indicator, weighted by value, errors clustered by day (statsmodels)."""
    found = group_costs(table, "strategy").loc["fast"]
    x = sm.add_constant((table["strategy"] == "fast").to_numpy(float))
    day = pd.factorize(table["day"])[0]
    clusters = {"groups": day, "use_correction": False}
    fit = sm.WLS(table["total_bps"].to_numpy(), x, table["value"].to_numpy()).fit(
        cov_type="cluster", cov_kwds=clusters
    )
    n_days = table["day"].nunique()
    half = fit.bse[1] * np.sqrt(n_days / (n_days - 1))
    assert found["difference_bps"] == pytest.approx(fit.params[1])
    width = stats.t(n_days - 1).ppf(0.975) * half
    assert found["upper_bps"] - found["difference_bps"] == pytest.approx(width)
    few = group_costs(table[table["day"].isin(sorted(set(table["day"]))[:19])], "strategy")
    assert few["lower_bps"].isna().all(), "below 20 days nothing but a description"
    with pytest.raises(ValidationError, match="did you mean 'strategy'"):
        group_costs(table, "strategi")
    parts = group_costs(table.assign(all=1), "all").iloc[0]
    whole = sm.WLS(table["total_bps"].to_numpy(), np.ones(len(table)), table["value"].to_numpy())
    error = whole.fit(cov_type="cluster", cov_kwds=clusters).bse[0]
    width = stats.t(n_days - 1).ppf(0.975) * error * np.sqrt(n_days / (n_days - 1))
    assert parts["high_bps"] - parts["total_bps"] == pytest.approx(width)
    assert parts[PARTS].sum() == pytest.approx(parts["total_bps"])


def test_a_right_forecast_is_kept_as_often_as_its_interval_says() -> None:
    """Costs share a move by day. Of 300 draws 95 % are 285; four errors below it are 270."""
    rng, covered = np.random.default_rng(1), 0
    day = np.repeat(np.arange(25), 12)
    for _ in range(300):
        forecast = rng.uniform(1.0, 20.0, len(day))
        noise = rng.normal(0.0, 10.0, 25)[day] + rng.normal(0.0, 10.0, len(day))
        orders = pd.DataFrame(
            {"day": day, "filled_%": 100.0, "value": 1.0, "forecast_bps": forecast}
        )
        slope = calibration(orders.assign(trading_bps=forecast + noise)).slope
        covered += slope[1] <= 1.0 <= slope[2]
    assert covered >= 270


def test_a_forecast_of_few_orders_is_not_judged(table: pd.DataFrame) -> None:
    with pytest.raises(InsufficientDataError, match="0 orders with a forecast were filled"):
        calibration(table.assign(forecast_bps=np.nan))
    few = calibration(table[table["day"].isin(sorted(set(table["day"]))[:5])].assign(
        forecast_bps=lambda one: one["spread_bps"]))  # fmt: skip
    assert np.isnan(few.slope[1])


def test_outliers_name_the_part_that_did_it(table: pd.DataFrame) -> None:
    changed = table.copy()
    changed.loc[changed.index[3], ["fees_bps", "total_bps"]] += 5_000.0
    found = outliers(changed)
    assert found.index[0] == changed.index[3]
    assert found["reason"].iloc[0] == "fees"


def test_a_forecast_is_that_of_equal_shares_by_earlier_sessions(made: SyntheticDesk) -> None:
    session, name = made.session, "WIDE"
    books = made.books[name]
    how: dict[str, Any] = {"n_fitted": 20, "first": 20, "refit_every": 20, "on_jump": "carry"}
    known = known_before(books, session, **how)
    tapes = {one: Tape.of(each, session) for one, each in made.books.items()}
    desk = checked_desk(made.orders, made.fills, tapes)
    found = pre_trade_costs(desk.orders, {name: known}, session, replays=3)
    mine = desk.orders[desk.orders["symbol"] == name]
    assert found.loc[mine.index, "forecast_bps"].notna().all()
    assert found["forecast_bps"].notna().sum() == len(mine)
    assert found["TWAP_bps"].notna().sum() == 3
    order = mine.iloc[0]
    starts = session.starts([session.days(np.array([order["arrival_time"].value]))[0]])[0]
    inside = (starts >= order["arrival_time"].value) & (starts < order["until"].value)
    prior, n = known[0].priors[order["side"]], int(inside.sum())
    x = np.where(inside, order["shares"] / n, 0.0)
    lags = np.subtract.outer(starts[inside], starts[inside]) / 1e9
    kernel = prior.carried.kernel
    assert kernel is not None
    carried = x[inside] @ np.where(lags > 0, kernel(np.abs(lags)), 0.0) @ x[inside]
    mid = tapes[name].mid_at(starts[inside][:1])[0]
    cost = 1e4 * (prior.curve.cost(x).sum() + carried) / (order["shares"] * mid)
    assert found.loc[mine.index[0], "forecast_bps"] == pytest.approx(cost)


def test_no_forecast_knows_the_days_that_are_traded(made: SyntheticDesk) -> None:
    """Prices from the first traded day on are moved: forecasts per share of value stay."""
    session, name, n = made.session, "WIDE", 20 * made.session.n_intervals
    tapes = {one: Tape.of(each, session) for one, each in made.books.items()}
    orders = checked_desk(made.orders, made.fills, tapes).orders
    books = made.books[name]
    how: dict[str, Any] = {"n_fitted": 20, "first": 20, "refit_every": 20, "on_jump": "carry"}
    later = np.arange(len(books)) >= n
    wider = dataclasses.replace(
        books, bid_price=books.bid_price - later[:, None] * 1.0,
        ask_price=books.ask_price + later[:, None] * 1.0,
    )  # fmt: skip
    before, after = (
        pre_trade_costs(orders, {name: known_before(one, session, **how)}, session)["forecast_bps"]
        for one in (books, wider)
    )
    pd.testing.assert_series_equal(before, after)
    assert before.notna().any()


def test_other_schedules_are_compared_by_pairs() -> None:
    rng, days = np.random.default_rng(0), np.repeat(np.arange(20), 5)
    costs = pd.DataFrame(
        {"day": days, "value": rng.uniform(1, 3, 100), "own": rng.normal(5, 9, 100)}
    )
    costs["TWAP_bps"] = costs["own"] + 1.0  # whatever the orders: no error at all
    row = beside_own(costs, "own", ["TWAP_bps"]).loc["TWAP"]
    assert row[["difference_bps", "lower_bps", "upper_bps"]].tolist() == pytest.approx([1.0] * 3)


def test_fictitious_orders_are_sized_before_their_fills() -> None:
    market = next(iter(synthetic_desk(1, np.random.default_rng(3), n_days=1).markets.values()))
    books = market.books(2 * 390, 1, np.random.default_rng(3), flow=market.flow)
    orders, fills = fictitious_orders(books, 40, np.random.default_rng(3), market.session)
    assert not fills.duplicated("time").any(), "no trade fills two orders"
    trades = books.trades
    assert trades is not None
    for _, order in orders.iterrows():
        end = order["arrival_time"].value
        sign = 1 if order["side"] == "buy" else -1
        before = (
            (trades.time >= end - 30 * MINUTE) & (trades.time < end) & (trades.aggressor == sign)
        )
        assert order["shares"] == pytest.approx(0.2 * trades.size[before].sum())
    desk = checked_desk(orders, fills, {books.symbol: Tape.of(books, market.session)}, ["all"])
    assert len(desk.fills) == len(fills)


def test_fills_are_priced_against_minute_bars() -> None:
    """Quotes once a minute will do: half-spread and mid are those of the minute before."""
    books = read_books(real_data("lean_us_equity/minute/ibm_20131007_quote.zip"))
    tape = Tape.of(books, Session(390))
    row = int(np.searchsorted(tape.time, pd.Timestamp("2013-10-07 15:00Z").value))
    when = pd.to_datetime(tape.time[[row, row + 5]] + 10**9, utc=True)
    orders = pd.DataFrame({"order_id": [1], "symbol": ["IBM"], "side": "buy", "shares": 200.0,
                           "arrival_time": when[:1]})  # fmt: skip
    ask = tape.mid[row + 5] + tape.half_spread[row + 5]
    fills = pd.DataFrame({"order_id": [1], "time": when[1:], "shares": 200.0, "price": ask})
    found = analyse_orders(checked_desk(orders, fills, {"IBM": tape}, ["all"]), {"IBM": tape}).iloc[
        0
    ]
    paper = 1e4 / tape.mid[row]
    assert found["spread_bps"] == pytest.approx(paper * tape.half_spread[row + 5])
    assert found["timing_bps"] == pytest.approx(paper * (tape.mid[row + 5] - tape.mid[row]))
    assert found["walk_bps"] == pytest.approx(0.0, abs=1e-9)
    assert found["participation_%"] > 0


def test_a_kernel_of_another_kind_is_carried_too(
    made: SyntheticDesk, tapes: dict[str, Tape]
) -> None:
    desk = checked_desk(made.orders.iloc[:20], made.fills, tapes)
    quick = {name: CarriedImpact("measured", ExponentialKernel(10.0, 1e-5)) for name in tapes}
    found = analyse_orders(desk, tapes, quick)
    assert found["carried_bps"].abs().max() < 1e-9, "gone within a minute"
    bare = analyse_orders(desk, tapes)
    np.testing.assert_allclose(found["total_bps"], bare["total_bps"], rtol=0, atol=1e-9)
