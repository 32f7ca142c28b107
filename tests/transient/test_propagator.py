"""A market with a known kernel is recovered; responses, memory and bands by other routes."""

from __future__ import annotations

import dataclasses
from functools import partial

import numpy as np
import pytest
import statsmodels.api as sm
from scipy import linalg, signal, stats

from research_lib.errors import ModelFittingError, ValidationError
from research_lib.impact import ExponentialKernel, Kernel, PowerKernel
from research_lib.market import BookSnapshots, OrderFlow, Session, Trades
from research_lib.transient import (
    LagEstimate,
    SignedFlow,
    clock_flow,
    cumulative_effects,
    flow_autocorrelation,
    price_path,
    propagator,
    propagators_by_event,
    response_function,
    trade_flow,
)

SECOND = 10**9
MORNING = 1_704_207_600_000_000_000  # 2024-01-02 10:00 New York
Float = np.ndarray


def flow_of(
    sign: Float, mid: Float, day: Float | None = None, changing: Float | None = None
) -> SignedFlow:
    n = len(sign)
    days = np.zeros(n, int) if day is None else day
    return SignedFlow(
        SECOND * np.arange(n), mid, sign.astype(float), 100.0 * sign, changing, days, 1.0, "trades"
    )


def simulate_mids(
    kernel: Kernel, flow: Float, volatility: float, rng: np.random.Generator, start: float = 100.0
) -> Float:
    """Mids just before each trade: those of the price path, and a random walk."""
    moved = price_path(kernel, np.arange(len(flow)), flow).before
    return start + moved + np.cumsum(volatility * rng.standard_normal(len(flow)))


def implied_response(propagated: Float, memory: Float) -> Float:
    """R(l) = sum_{i<l} sum_k C(|i - k|) g_k with g_k = G(k + 1) - G(k), over the lags known."""
    correlation = np.append(1.0, memory[: len(propagated) - 1])
    return np.cumsum(linalg.toeplitz(correlation) @ np.diff(propagated, prepend=0.0))


def synthetic(kernel: Kernel, n: int, rng: np.random.Generator) -> SignedFlow:
    signs = OrderFlow().signs(n, rng)
    return flow_of(signs, simulate_mids(kernel, signs, 0.02, rng))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kernel", "n"), [(PowerKernel(0.4, 0.01), 3000), (ExponentialKernel(0.1, 0.01), 1200)]
)
def test_the_known_kernel_lies_in_its_95_percent_band(kernel: Kernel, n: int) -> None:
    """60 markets.

    The pointwise band covers about 95 % of them at each lag, the simultaneous one all lags at
    once.
    """
    pointwise, whole = [], []
    for seed in range(60):
        found = propagator(synthetic(kernel, n, np.random.default_rng(seed)), 20)
        truth = kernel(found.lags)
        low, high = found.conf_int()
        pointwise.append((low <= truth) & (truth <= high))
        low, high = found.conf_int(simultaneous=True)
        whole.append(np.all((low <= truth) & (truth <= high)))
    assert 0.93 <= np.mean(pointwise) <= 0.98  # observed 0.951 and 0.965
    assert np.mean(pointwise, axis=0).min() >= 0.85  # the least of 20 lags
    assert 0.88 <= np.mean(whole) <= 0.99


def test_without_noise_the_kernel_is_read_off_exactly(rng: np.random.Generator) -> None:
    signs = OrderFlow().signs(800, rng)
    table = np.append(
        [0.03, 0.02, 0.015, 0.012], np.full(796, 0.012)
    )  # flat beyond the lags fitted
    found = propagator(
        flow_of(signs, simulate_mids(lambda lags: table[lags.astype(int) - 1], signs, 0.0, rng)), 8
    )
    assert np.allclose(found.values, table[:8], atol=1e-12)
    assert found.r2 == pytest.approx(1.0, abs=1e-12)


def test_simulated_mids_are_the_sum_over_past_trades(rng: np.random.Generator) -> None:
    kernel, signs = PowerKernel(0.5), np.array([1.0, -1.0, 1.0, 1.0])
    mids = simulate_mids(kernel, signs, 0.0, rng, start=10.0)
    by_hand = [10.0 + sum(signs[s] * float(kernel(t - s)) for s in range(t)) for t in range(4)]
    assert np.allclose(mids, by_hand)


def test_responses_and_memory_are_plain_means(rng: np.random.Generator) -> None:
    flow = synthetic(PowerKernel(0.4, 0.01), 500, rng)
    response, memory = response_function(flow, 10), flow_autocorrelation(flow, 10)
    for lag in (1, 4, 10):
        plain = np.mean(flow.sign[:-lag] * (flow.mid[lag:] - flow.mid[:-lag]))
        assert response.values[lag - 1] == pytest.approx(plain, rel=1e-12)
        assert memory.values[lag - 1] == pytest.approx(
            np.mean(flow.sign[lag:] * flow.sign[:-lag]), rel=1e-12
        )


def test_signs_remember_as_the_order_splitting_model_says() -> None:
    """C(k) of `OrderFlow` is a closed form; the mean of 40 estimates must agree with it."""
    rng = np.random.default_rng(4)
    model = OrderFlow(split_share=0.7)
    flows = [flow_of(model.signs(4000, rng), np.ones(4000)) for _ in range(40)]
    found = np.array([flow_autocorrelation(flow, 5).values for flow in flows])
    error = found.std(axis=0, ddof=1) / np.sqrt(len(found))
    assert np.all(
        np.abs(found.mean(axis=0) - model.sign_autocorrelation(np.arange(1, 6))) < 4 * error
    )


@pytest.mark.slow
def test_the_response_follows_from_propagator_and_memory() -> None:
    rng = np.random.default_rng(5)
    flow = synthetic(ExponentialKernel(0.3, 0.02), 60_000, rng)
    implied = implied_response(propagator(flow, 40).values, flow_autocorrelation(flow, 40).values)
    response = response_function(flow, 40)
    assert np.all(np.abs(implied - response.values)[:20] < 3 * response.se[:20])


@pytest.mark.slow
def test_two_kinds_of_trades_keep_their_propagators() -> None:
    """TIM2: trades that change the price push 3 times as far.

    Both kernels in their simultaneous bands.
    """
    covered = []
    for seed in range(40):
        rng = np.random.default_rng(seed)
        signs, changing = OrderFlow().signs(2000, rng), rng.random(2000) < 0.4
        strong, weak = ExponentialKernel(0.05, 0.03), ExponentialKernel(0.3, 0.01)
        mids = simulate_mids(strong, signs * changing, 0.02, rng) + simulate_mids(
            weak, signs * ~changing, 0.0, rng
        )
        found = propagators_by_event(flow_of(signs, mids, changing=changing), 15)
        for name, kernel in (("changing", strong), ("unchanging", weak)):
            low, high = found[name].conf_int(simultaneous=True)
            covered.append(
                np.all((low <= kernel(found[name].lags)) & (kernel(found[name].lags) <= high))
            )
    assert 0.87 <= np.mean(covered) <= 1.0


def test_no_lag_reaches_over_a_night(rng: np.random.Generator) -> None:
    """A price gap between two days is nobody's impact."""
    one, two = (synthetic(ExponentialKernel(0.1, 0.01), 600, rng) for _ in range(2))
    joined = flow_of(
        np.concatenate([one.sign, two.sign]),
        np.concatenate([one.mid, two.mid + 50.0]),
        np.repeat([0, 1], 600),
    )
    assert np.abs(propagator(joined, 10).values).max() < 0.05
    assert np.abs(response_function(joined, 10).values).max() < 0.2


def test_a_propagator_is_least_squares_with_newey_west_errors(rng: np.random.Generator) -> None:
    """Of the mid's changes on the last three signs, for two lags.

    The 297 rows have Newey and West's bandwidth of 6.
    """
    from statsmodels.api import OLS

    flow = flow_of(
        x := OrderFlow().signs(300, rng), simulate_mids(PowerKernel(0.4, 0.5), x, 1.0, rng)
    )
    found = propagator(flow, 2)
    design = np.column_stack([np.ones(297), x[2:-1], x[1:-2], x[:-3]])
    reference = OLS(np.diff(flow.mid)[2:], design).fit(
        cov_type="HAC", cov_kwds={"maxlags": 5, "use_correction": True}
    )
    summed = np.tri(2)
    assert np.allclose(found.values, summed @ reference.params[1:3], rtol=1e-10)
    assert np.allclose(found.cov, summed @ reference.cov_params()[1:3, 1:3] @ summed.T, rtol=1e-8)
    assert found.r2 == pytest.approx(reference.rsquared, rel=1e-10)


def test_too_many_lags_are_refused_with_how_many_are_not(rng: np.random.Generator) -> None:
    flow = synthetic(ExponentialKernel(0.1), 100, rng)
    with pytest.raises(ModelFittingError, match="100 steps do not identify 75 lagged effects"):
        propagator(flow, 50)
    with pytest.raises(ValidationError, match="max_lag must be at most 98"):
        response_function(flow, 200)
    with pytest.raises(ValidationError, match="use trade_flow"):
        propagators_by_event(flow, 5)
    with pytest.raises(ValidationError, match="did you mean 'sign'"):
        propagator(flow, 5, "signs")


def small_books() -> BookSnapshots:
    """Mids 100, 101, 102, 103 at seconds 0, 1, 2, 3; trades between them."""
    price = 100.0 + np.arange(4.0)[:, None]
    size = np.full((4, 1), 10.0)
    time = MORNING + SECOND * np.array([1, 2, 2, 3, 3]) // 2 + np.array([0, 0, 0, 1, 2])
    trades = Trades(time, np.full(5, 100.0), [1.0, 2, 3, 4, 5], np.array([1, 1, 1, -1, 0], np.int8))
    return BookSnapshots(
        MORNING + SECOND * np.arange(4), price - 0.5, size, price + 0.5, size, trades=trades
    )


def test_executions_of_one_order_are_one_trade_and_mids_are_before_it() -> None:
    flow = trade_flow(small_books())
    assert flow.shares.tolist() == [
        1.0,
        5.0,
        -4.0,
    ]  # the two buys of one time are one order; the unsigned one is out
    assert flow.mid.tolist() == [
        100.0,
        100.0,
        101.0,
    ]  # the book shown at the very time of a trade is not before it
    assert flow.changing is not None
    assert flow.changing.all()


def test_by_the_clock_flow_is_net_and_lags_count_from_the_middle_of_the_step() -> None:
    flow = clock_flow(small_books(), 0.75)
    assert flow.shares.tolist() == [6.0, -4.0]
    assert flow.sign.tolist() == [2.0, -1.0]
    assert flow.mid.tolist() == [100.0, 101.0]
    assert flow.lags(2).tolist() == [0.375, 1.125]


@pytest.mark.parametrize("tick", [2.0**-40, 1.0, 2.0**30])
def test_a_trade_that_moves_the_mid_by_one_tick_is_seen_at_any_scale(tick: float) -> None:
    """At a tick of 1e-12 of the price, as of a token, the move is as real as at one of 1e-3."""
    books, price = small_books(), 1.0
    bids = price + tick * np.array([0.0, 1.0, 1.0, 2.0])[:, None]
    moved = dataclasses.replace(books, bid_price=bids, ask_price=bids + tick)
    changing = trade_flow(moved).changing
    assert changing is not None
    assert changing.tolist() == [True, True, False]


def test_orders_beyond_the_books_count_in_neither_flow() -> None:
    """Before, with and after the first book, with and after the last.

    Those strictly after the first count.
    """
    books = small_books()
    time = MORNING + SECOND * np.array([-2, -1, 0, 1, 6, 7, 8]) // 2
    trades = Trades(time, np.full(7, 100.0), 2.0 ** np.arange(7), np.ones(7, np.int8))
    by_trade, by_clock = (
        make(dataclasses.replace(books, trades=trades))
        for make in (trade_flow, partial(clock_flow, seconds=0.3))
    )
    assert by_trade.shares.tolist() == [8.0, 16.0]
    assert by_clock.shares[by_clock.shares > 0].tolist() == [8.0, 16.0]
    assert by_clock.sign.sum() == by_trade.sign.sum() == 2.0


def test_books_without_trades_are_refused() -> None:
    books = small_books()
    with pytest.raises(ValidationError, match="no trades"):
        trade_flow(
            BookSnapshots(
                *(
                    books[name]
                    for name in ("time", "bid_price", "bid_size", "ask_price", "ask_size")
                )
            )
        )


def test_frog_is_read_with_the_book_before_each_trade(frog_books: BookSnapshots) -> None:
    """On Databento's T rows the book is the one before.

    Its mid must be the one that the flow has.
    """
    flow = trade_flow(frog_books, Session())
    assert len(flow) == 1165
    found = propagator(flow, 20)
    assert found.conf_int()[0][0] > 0  # the price follows the first trade
    assert 1e4 * found.values[0] / flow.mid.mean() == pytest.approx(
        2.9, abs=0.5
    )  # bps, three standard errors


@pytest.mark.slow
def test_google_trades_that_change_the_price_move_it_far_more(goog_books: BookSnapshots) -> None:
    flow = trade_flow(goog_books, Session())
    kinds = propagators_by_event(flow, 20)
    assert np.all(kinds["changing"].conf_int()[0] > kinds["unchanging"].conf_int()[1])


def test_the_autocorrelation_of_shares_covers_as_often_as_it_says() -> None:
    """An AR(1) flow of 0.6.

    E[x^2] is estimated too, which taken as known makes bands of 100 % at the first lag.
    """
    held = []
    for seed in range(200):
        noise = np.random.default_rng(seed).standard_normal(2100)
        shares = signal.lfilter([1.0], [1.0, -0.6], noise)[100:]
        still = SignedFlow(
            np.arange(2000),
            np.zeros(2000),
            np.sign(shares),
            shares,
            None,
            np.zeros(2000, int),
            1.0,
            "trades",
        )
        found = flow_autocorrelation(still, 3, "shares")
        low, high = found.conf_int()
        held.append((low <= 0.6**found.lags) & (0.6**found.lags <= high))
    assert np.all(
        np.abs(np.mean(held, axis=0) - 0.95) <= 0.05
    )  # three standard errors of 200 draws


def test_from_24_days_on_errors_cluster_by_day() -> None:
    """As statsmodels clusters the errors of the same regression, written out lag by lag."""
    rng, days, n, lags = np.random.default_rng(8), 24, 60, 6  # 4 reported, 2 more fitted
    sign, level = rng.choice([-1.0, 1.0], (days, n)), rng.normal(size=(days, n)).cumsum(axis=1)
    level += rng.normal(size=(days, 1)) * np.arange(n)  # a drift of its own in each day
    day = np.repeat(np.arange(days), n)
    (found,) = cumulative_effects(
        level.ravel(), sign.reshape(-1, 1), day, np.arange(1.0, 5.0), "seconds"
    )
    rows = [(d, t) for d in range(days) for t in range(lags - 1, n - 1)]
    y = [level[d, t + 1] - level[d, t] for d, t in rows]
    x = sm.add_constant([[sign[d, t - k] for k in range(lags)] for d, t in rows])
    groups = {"groups": [d for d, _ in rows]}
    reference = sm.OLS(y, x).fit(cov_type="cluster", cov_kwds=groups)
    summed = np.tri(4) @ reference.cov_params()[1:5, 1:5] @ np.tri(4).T
    assert found.clusters == days
    np.testing.assert_allclose(found.values, np.cumsum(reference.params[1:5]), rtol=1e-9)
    # statsmodels multiplies by (n - 1) / (n - k), as Newey and West's errors here by n / (n - k).
    np.testing.assert_allclose(found.cov, summed * len(y) / (len(y) - 1), rtol=1e-9)
    width = (found.conf_int()[1] - found.values) / found.se
    np.testing.assert_allclose(width, stats.t(days - 1).ppf(0.975))


def test_simultaneous_bands_of_clusters_hold_the_pointwise_ones() -> None:
    """With lags as good as equal the largest |t| is one |t|, of 23 degrees of freedom.

    The 95 % quantile of 10,000 draws has a relative error of 1 %; by normal draws it is 4 % less.
    """
    cov = 0.001 * np.eye(4) + np.ones((4, 4))
    found = LagEstimate(np.arange(1.0, 5.0), np.zeros(4), cov, 100, "seconds", clusters=24)
    pointwise, whole = (found.conf_int(simultaneous=one)[1] for one in (False, True))
    assert (whole / pointwise > 0.99).all()
    assert (whole / pointwise < 1.06).all()
    assert pointwise[0] == pytest.approx(stats.t(23).ppf(0.975) * np.sqrt(1.001))


def test_fewer_days_than_24_keep_bartlett_weights() -> None:
    rng = np.random.default_rng(8)
    level, sign = rng.normal(size=1_000).cumsum(), rng.choice([-1.0, 1.0], (1_000, 1))
    few, many = (
        cumulative_effects(
            level, sign, np.repeat(np.arange(n), 1_000 // n), np.arange(1.0, 5.0), "s"
        )
        for n in (20, 25)
    )
    assert (few[0].clusters, many[0].clusters) == (0, 25)
