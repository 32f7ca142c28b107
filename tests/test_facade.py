"""The code block of DESIGN section 5 as printed, and what its users rely on."""

from __future__ import annotations

import dataclasses
import logging
import re
import threading
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from research_lib import (
    ImpactModel,
    ModelConfig,
    OptimizerConfig,
    SolverType,
    TradeAllocator,
    ValidationError,
)
from research_lib.errors import MemoryLimitError, ModelFittingError, OptimizationError
from research_lib.impact import fit_impact
from research_lib.market import BookSnapshots, Session, SyntheticMarket

MANY = 1_000  # times the work, so that a refusal's whole MB tell its estimate to three more digits


@pytest.fixture(scope="module")
def fitted() -> ImpactModel:
    config = ModelConfig(base_price=100.0, volatility_factor=0.5, memory_limit_mb=500)
    model = ImpactModel(model_type="linear", config=config)
    books = model.generate_synthetic_orderbook(n_snapshots=390, n_levels=20)
    model.fit_model(model.estimate_slippage(books))
    return model


@pytest.mark.slow
def test_the_printed_block_runs(tmp_path: Path) -> None:
    config = ModelConfig(base_price=100.0, volatility_factor=0.5, memory_limit_mb=500)
    model = ImpactModel(model_type="linear", config=config)
    books = model.generate_synthetic_orderbook(n_snapshots=390, n_levels=20)
    assert {"time", "side", "price", "size", "level"} <= set(books.columns)
    slippage = model.estimate_slippage(books)
    assert {
        "time", "interval", "side", "trade_size", "filled", "avg_price", "mid_price", "half_spread", "avg_slippage",
        "slippage_bps", "impact", "censored",
    } == set(slippage.columns)  # fmt: skip
    assert (slippage["avg_slippage"] >= 0).all()
    assert slippage["interval"].nunique() == 390
    fit = model.fit_model(slippage)
    assert 0 < fit["metrics"]["train_r2"] <= 1
    assert np.isfinite(fit["metrics"]["test_r2"])
    allocator = TradeAllocator(
        impact_model=model,
        total_shares=100_000,
        n_intervals=390,
        config=OptimizerConfig(
            default_solver=SolverType.CVXPY, max_allocation_ratio=0.3, timeout_seconds=60
        ),
    )
    result = allocator.optimize()
    shares = result["optimal_allocation"]
    assert abs(shares.sum() - 100_000) < 1e-6
    assert (shares >= 0).all()
    assert (shares <= 30_000).all()
    assert result["improvement_pct"] > 0
    assert result["total_impact"] < result["naive_impact"]
    assert result["allocation"].solver == "cvxpy"
    picture = tmp_path / "allocation_plot.png"
    allocator.plot_allocation(save_path=str(picture))
    assert picture.read_bytes()[:4] == b"\x89PNG"
    assert [path.name for path in tmp_path.iterdir()] == ["allocation_plot.png"]


@pytest.mark.slow
@pytest.mark.parametrize("model_type", ["linear", "nonlinear"])
@pytest.mark.parametrize("objective", ["cost", "impact"])
def test_each_solver_gives_the_same_cost(model_type: str, objective: str) -> None:
    model = ImpactModel(model_type=model_type)
    model.fit_model(
        model.estimate_slippage(model.generate_synthetic_orderbook(260, 20)), test_fraction=0
    )
    # 65 intervals: SLSQP; the next test has trust-constr at 390.
    allocator = TradeAllocator(model, 60_000, n_intervals=65, objective=objective)
    results = {solver: allocator.optimize(solver=solver) for solver in SolverType}
    costs = [result["total_impact"] for result in results.values()]
    assert np.ptp(costs) < 1e-3 * min(costs)
    assert [r["allocation"].solver for r in results.values()] == [
        "analytical",
        "analytical",
        "scipy",
        "cvxpy",
    ]


@pytest.mark.slow
def test_scipy_solves_390_intervals_under_the_printed_settings(fitted: ImpactModel) -> None:
    config = OptimizerConfig(
        default_solver=SolverType.SCIPY, max_allocation_ratio=0.3, timeout_seconds=60
    )
    numeric = TradeAllocator(fitted, 100_000, 390, config).optimize()
    exact = TradeAllocator(fitted, 100_000, 390, config).optimize("analytical")
    assert numeric["allocation"].solver == "scipy"
    assert numeric["total_impact"] == pytest.approx(exact["total_impact"], rel=1e-6)


def test_the_saving_compares_the_same_curve_order_and_unit(fitted: ImpactModel) -> None:
    result = TradeAllocator(fitted, 100_000).optimize(SolverType.AUTO)
    naive = fitted.curve.cost(100_000 / 390).sum()
    assert result["naive_impact"] == pytest.approx(naive)
    assert result["improvement_pct"] == pytest.approx(100 * (1 - result["total_impact"] / naive))


def test_the_fit_of_one_day_predicts_times_that_it_did_not_see(fitted: ImpactModel) -> None:
    """The last fifth of the day by one curve of all before gave an R2 of -1.28."""
    fit = fitted.fit
    assert fit is not None
    assert 0.3 < fit["metrics"]["test_r2"] < 1.0
    assert 0.3 < fit["metrics"]["train_r2"] < 1.0
    assert "tested on 78 others, in 5 blocks of consecutive times, 10 at each side" in fit.summary()
    assert "r2: 1 - SSE / SST of slippage per share" in fit.summary()


def test_two_thousand_snapshots_of_fifty_levels_pass() -> None:
    model = ImpactModel("linear")
    books = model.generate_synthetic_orderbook(2_000, 50)
    slippage = model.estimate_slippage(books)
    assert len(books) == 2_000 * 50 * 2
    assert slippage["time"].nunique() == 2_000


def test_a_book_beyond_the_memory_limit_is_refused_before_it_is_built() -> None:
    model = ImpactModel("linear", ModelConfig(memory_limit_mb=500))
    message = r"100,000,000 snapshots of 50 levels would need about .* MB, memory_limit_mb is 500"
    tracemalloc.start()
    with pytest.raises(MemoryLimitError, match=message):
        model.generate_synthetic_orderbook(100_000_000, 50)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1e7
    assert issubclass(MemoryLimitError, ValidationError)


def test_a_frame_that_would_need_too_large_arrays_is_refused_before_they_are_built() -> None:
    frame = ImpactModel("linear").generate_synthetic_orderbook(26, 5)
    frame.loc[0, "level"] = 10_000_000
    with pytest.raises(
        MemoryLimitError, match=r"a frame of 26 times and 10,000,000 levels would need about"
    ):
        ImpactModel("linear").estimate_slippage(frame)


@pytest.mark.slow
@pytest.mark.parametrize(("snapshots", "levels", "sizes"), [(2_000, 50, 1), (2_000, 5, 50)])
def test_accepted_work_stays_within_its_estimate(snapshots: int, levels: int, sizes: int) -> None:
    """Peak memory, measured, against what a refusal says that the work would need."""
    trade_sizes, many_sizes = np.linspace(100, 1_000, sizes), np.linspace(100, 1_000, MANY * sizes)
    model = ImpactModel("linear", ModelConfig(progress_logging=False))
    books = model.generate_synthetic_orderbook(snapshots, levels)
    model.estimate_slippage(
        books.head(2 * levels), trade_sizes
    )  # what is loaded once is no part of the work
    generating = (
        _told_mb(lambda small: small.generate_synthetic_orderbook(MANY * snapshots, levels)) / MANY
    )
    assert _peak_mb(lambda: model.generate_synthetic_orderbook(snapshots, levels)) < generating
    framing = (
        _told_mb(lambda small: small.estimate_slippage(books, trade_sizes)) - 0.5
    )  # told in whole MB
    arrays = BookSnapshots.from_frame(books)
    walking = _told_mb(lambda small: small.estimate_slippage(arrays, many_sizes)) / MANY
    limited = ImpactModel(
        "linear", ModelConfig(progress_logging=False, memory_limit_mb=framing + walking + 0.5)
    )
    assert _peak_mb(lambda: limited.estimate_slippage(books, trade_sizes)) < framing + walking


def _told_mb(work: Callable[[ImpactModel], object]) -> float:
    """MB that the work would need, as its refusal under a limit of next to nothing says."""
    with pytest.raises(MemoryLimitError) as refused:
        work(ImpactModel("linear", ModelConfig(memory_limit_mb=1e-6)))
    found = re.search(r"would need about ([\d,]+) MB", str(refused.value))
    assert found, refused.value
    return float(found[1].replace(",", ""))


def _peak_mb(work: Callable[[], object]) -> float:
    tracemalloc.start()
    work()
    peak = tracemalloc.get_traced_memory()[1] / 1e6
    tracemalloc.stop()
    return peak


def test_slippage_beyond_the_memory_limit_is_refused() -> None:
    books = ImpactModel("linear").generate_synthetic_orderbook(390, 5)
    small = ImpactModel("linear", ModelConfig(memory_limit_mb=0.9))
    with pytest.raises(MemoryLimitError, match="use fewer trade sizes or raise memory_limit_mb"):
        small.estimate_slippage(books)


def test_snapshots_spread_over_one_session_or_go_on_minute_by_minute() -> None:
    model = ImpactModel("linear")
    few = model.estimate_slippage(model.generate_synthetic_orderbook(13, 5))
    assert sorted(few["interval"].unique()) == list(range(13))
    many = model.generate_synthetic_orderbook(800, 5)
    assert many["time"].dt.tz_convert("America/New_York").dt.date.nunique() == 3


def test_another_exchanges_session_decides_the_intervals() -> None:
    tokyo = Session(open="09:00", close="15:30", timezone="Asia/Tokyo")
    model = ImpactModel("linear", session=tokyo)
    books = model.generate_synthetic_orderbook(26, 5)
    assert books["time"].min().tz_convert("Asia/Tokyo").strftime("%H:%M") == "09:00"
    model.fit_model(model.estimate_slippage(books))
    assert len(model.curve) == 26
    with pytest.raises(ValidationError, match="inside the session 09:30-16:00 America/New_York"):
        ImpactModel("linear").estimate_slippage(books)


def test_each_side_is_walked_alone() -> None:
    model = ImpactModel("linear")
    books = model.generate_synthetic_orderbook(26, 10)
    bought, sold = (model.estimate_slippage(books, [100, 200], side=s) for s in ("buy", "sell"))
    assert (bought["avg_price"] > bought["mid_price"]).all()
    assert (sold["avg_price"] < sold["mid_price"]).all()
    with pytest.raises(ValidationError, match='side must be "buy" or "sell"'):
        model.estimate_slippage(books, side="short")


def test_another_number_of_intervals_recuts_the_session(fitted: ImpactModel) -> None:
    allocator = TradeAllocator(fitted, 10_000, n_intervals=13)
    assert len(allocator.optimize("auto")["optimal_allocation"]) == 13
    assert allocator.curve.half_spread[0] == fitted.curve.half_spread[15]


def test_orders_beyond_the_sizes_seen_are_counted_and_logged(
    fitted: ImpactModel, caplog: pytest.LogCaptureFixture
) -> None:
    TradeAllocator(fitted, 10_000_000).optimize("auto")
    assert "exceed the largest size of their fit" in caplog.text


def test_min_observations_reaches_the_fit() -> None:
    books = ImpactModel("linear").generate_synthetic_orderbook(26, 10)
    for minimum, widened in ((3, 0), (12, 26)):
        model = ImpactModel("linear", ModelConfig(min_observations=minimum))
        fit = model.fit_model(model.estimate_slippage(books, [100, 200, 300, 400]), test_fraction=0)
        assert len(fit["diagnostics"]["widened"]) == widened


def test_trade_size_limits_act(caplog: pytest.LogCaptureFixture) -> None:
    model = ImpactModel("linear", ModelConfig(min_trade_size=200.0, max_trade_size=900.0))
    books = model.generate_synthetic_orderbook(26, 10)
    with pytest.raises(
        ValidationError, match="the largest trade size must be at most 900, got 1000"
    ):
        model.estimate_slippage(books, [300, 1000])
    with caplog.at_level(logging.WARNING):
        model.estimate_slippage(books, [50, 300])
    assert "1 trade sizes are below min_trade_size 200, the smallest is 50" in caplog.text
    sizes = model.estimate_slippage(books)["trade_size"]
    assert sizes.min() == 200
    assert sizes.max() <= 900


@pytest.mark.parametrize("sizes", [[-100.0], [0.0], [float("nan")]])
def test_negative_or_zero_trade_sizes_are_refused(sizes: list[float]) -> None:
    model = ImpactModel("linear")
    with pytest.raises(ValidationError, match="trade_sizes must be finite and above 0"):
        model.estimate_slippage(model.generate_synthetic_orderbook(26, 5), sizes)


def test_batches_are_logged_when_asked(caplog: pytest.LogCaptureFixture) -> None:
    books = ImpactModel("linear").generate_synthetic_orderbook(30, 5)
    with caplog.at_level(logging.INFO, logger="research_lib"):
        ImpactModel("linear", ModelConfig(batch_size=10)).estimate_slippage(books)
        loud = caplog.text.count("walked buy snapshots")
        caplog.clear()
        ImpactModel("linear", ModelConfig(batch_size=10, progress_logging=False)).estimate_slippage(
            books
        )
        quiet = caplog.text.count("walked buy snapshots")
    assert (loud, quiet) == (3, 0)


def test_parallel_processing_walks_in_other_threads_and_changes_nothing() -> None:
    frame = ImpactModel("linear").generate_synthetic_orderbook(60, 10)
    books = BookSnapshots.from_frame(frame)  # pyarrow reads frames with threads of its own
    frames, used, before = [], [], threading.getprofile()
    for on in (False, True):
        threads: set[int] = set()
        threading.setprofile(
            lambda *_, seen=threads: seen.add(threading.get_ident())
        )  # of threads started from here on
        try:
            frames.append(
                ImpactModel(
                    "linear", ModelConfig(batch_size=16, parallel_processing=on)
                ).estimate_slippage(books)
            )
        finally:
            threading.setprofile(before)
        used.append(threads)
    pd.testing.assert_frame_equal(*frames)
    assert used[0] == set()
    assert used[1]
    assert threading.get_ident() not in used[1]


@pytest.mark.slow
def test_numerical_tolerance_reaches_the_fit() -> None:
    books = ImpactModel("nonlinear").generate_synthetic_orderbook(1_300, 20)
    zeros = []
    for tolerance in (1e-8, 1e-2):
        model = ImpactModel("nonlinear", ModelConfig(numerical_tolerance=tolerance))
        rows = model.estimate_slippage(books)
        rows["avg_slippage"] = (
            rows["half_spread"] + 1e-5 * rows["trade_size"] + 1e-12 * rows["trade_size"] ** 2
        )
        rows["censored"] = False  # these are no bounds any more
        zeros.append(len(model.fit_model(rows)["diagnostics"]["bounded"]))
    assert zeros == [0, 390]


def test_morning_only_books_do_not_stretch_over_the_day() -> None:
    model = ImpactModel("linear")
    books = model.generate_synthetic_orderbook(390, 10)
    morning = books[books["time"] < books["time"].min() + pd.Timedelta(minutes=150)]
    model.fit_model(model.estimate_slippage(morning, n_intervals=390))
    assert len(model.curve) == 390


def test_facade_settings_reach_the_solver(fitted: ImpactModel) -> None:
    starved = OptimizerConfig(default_solver="scipy", max_iterations=1, validate_outputs=False)  # type: ignore[arg-type]
    result = TradeAllocator(fitted, 100_000, config=starved).optimize()
    assert abs(result["allocation"].duality_gap) > 1e-6
    hasty = OptimizerConfig(default_solver="scipy", timeout_seconds=1e-3)  # type: ignore[arg-type]
    trail = TradeAllocator(fitted, 100_000, config=hasty).optimize()["allocation"].attempts
    assert [attempt.accepted for attempt in trail] == [False, True]


def test_the_least_trade_is_a_floor_and_the_cap_acts(fitted: ImpactModel) -> None:
    config = OptimizerConfig(min_trade_size=100.0, max_allocation_ratio=0.005)
    result = TradeAllocator(fitted, 60_000, config=config).optimize("auto")
    shares = result["optimal_allocation"]
    assert shares.min() >= 100.0
    assert shares.max() == pytest.approx(300.0)
    free = TradeAllocator(fitted, 60_000).optimize("auto")
    assert free["optimal_allocation"].min() < 100.0
    assert free["total_impact"] <= result["total_impact"]
    with pytest.raises(OptimizationError, match="floors need 117,000 of 60,000 shares"):
        TradeAllocator(fitted, 60_000, config=OptimizerConfig(min_trade_size=300.0)).optimize(
            "auto"
        )


def test_orders_beyond_the_sizes_seen_are_a_warning_of_the_allocation(fitted: ImpactModel) -> None:
    few = TradeAllocator(fitted, 1_000, 13).optimize("auto")
    many = TradeAllocator(fitted, 10_000_000, 13).optimize("auto")
    assert few["allocation"].warnings == ()
    assert "13 child orders exceed the largest size" in many["allocation"].warnings[0]


def test_the_briefs_own_checks_of_frames_and_sizes() -> None:
    """The assertions of the brief's unit tests, as they stand there."""
    model = ImpactModel()
    with pytest.raises(ValidationError):
        model._validate_orderbook_data(pd.DataFrame())
    with pytest.raises(ValidationError):
        model._validate_orderbook_data(pd.DataFrame({"price": [100, 101]}))
    with pytest.raises(ValidationError):
        model._validate_trade_sizes(np.array([100.0, -5.0]))
    assert list(model._validate_trade_sizes(np.array([500.0, 200.0]))) == [200.0, 500.0]


def test_the_briefs_own_workflow() -> None:
    model = ImpactModel()
    slippage = model.estimate_slippage(model.generate_synthetic_orderbook(100, 10))
    assert len(slippage) > 0
    assert all(slippage["avg_slippage"] >= 0)
    data = model.generate_synthetic_orderbook()
    model.fit_model(model.estimate_slippage(data))
    allocation = TradeAllocator(model, total_shares=10000).optimize()["optimal_allocation"]
    assert abs(np.sum(allocation) - 10000) < 1e-6
    assert all(allocation >= 0)
    assert all(allocation <= 3000)
    results = TradeAllocator(model, 50000).optimize()
    assert results["improvement_pct"] > 0
    assert results["total_impact"] < results["naive_impact"]


def test_default_sizes_of_fractions_are_not_rounded_away() -> None:
    model = ImpactModel("linear", ModelConfig(min_trade_size=0.01, max_trade_size=5.0))
    books = model.generate_synthetic_orderbook(13, 5)
    sizes = np.unique(model.estimate_slippage(books)["trade_size"])
    assert (len(sizes), sizes[0]) == (10, 0.01)


def test_crossed_books_are_refused_with_count_and_time() -> None:
    model = ImpactModel("linear")
    books = model.generate_synthetic_orderbook(26, 5)
    first = books["time"] == books["time"].iloc[0]
    books.loc[first & (books["side"] == "bid"), "price"] += 50
    with pytest.raises(
        ValidationError, match=r"no crossed book .*1 of 26 rows .*'2024-01-02 14:30"
    ):
        model.estimate_slippage(books)


def test_an_unfitted_model_and_an_empty_order_are_refused(fitted: ImpactModel) -> None:
    with pytest.raises(ModelFittingError, match="call fit_model"):
        TradeAllocator(ImpactModel("linear"), 100)
    for shares in (0, -5, float("nan")):
        with pytest.raises(ValidationError, match="total_shares must be"):
            TradeAllocator(fitted, shares)
    with pytest.raises(ValidationError, match="model_type 'quadratic' is unknown"):
        ImpactModel("quadratic")
    with pytest.raises(ValidationError, match="objective 'speed' is unknown"):
        TradeAllocator(fitted, 100, objective="speed")


def test_the_model_is_the_function_it_wraps(fitted: ImpactModel) -> None:
    slippage = fitted.estimate_slippage(fitted.generate_synthetic_orderbook())
    assert fit_impact(slippage, "linear").params.equals(fitted.fit["params"])  # type: ignore[index]


def test_levels_that_count_from_zero_keep_the_best() -> None:
    model = ImpactModel("linear", ModelConfig(progress_logging=False))
    books = model.generate_synthetic_orderbook(13, 5)
    from_zero = books.assign(level=books["level"] - 1)
    assert model.estimate_slippage(from_zero).equals(model.estimate_slippage(books))


def test_default_sizes_follow_what_the_books_show() -> None:
    """Fractions of a coin are not rounded, also where the least size is above 1."""
    books = SyntheticMarket(session=Session(13)).books(13, 5, np.random.default_rng(0))
    coins = dataclasses.replace(
        books, bid_size=books.bid_size / 300 + 0.25, ask_size=books.ask_size / 300 + 0.25
    )
    model = ImpactModel("linear", ModelConfig(min_trade_size=1.5), Session(13))
    sizes = model.estimate_slippage(coins)["trade_size"].unique()
    assert len(sizes) == 10
    assert (sizes % 1 != 0).any()
