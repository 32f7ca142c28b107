"""Forecasts through a session: causal, above their floor, right where the truth is known."""

from dataclasses import replace

import numpy as np
import pytest

from research_lib.errors import InsufficientDataError, ValidationError
from research_lib.evaluation import (
    FORECASTS,
    Adaptive,
    Boosting,
    Forecast,
    Ladder,
    Liquidity,
    Order,
    Regression,
    ScaledProfile,
    SessionProfile,
    StateSpace,
    book_features,
    run,
)
from research_lib.market import Session, preset

DAYS, N = 24, 40


def _components(n_days: int, seed: int, a: float = 0.8, b: float = 0.9) -> np.ndarray:
    """log y of the state space: session and intraday components plus noise, (D, N)."""
    rng = np.random.default_rng(seed)
    eta, mu = 0.0, 0.0
    log = np.zeros((n_days, N))
    shape = np.linspace(1.0, -1.0, N) ** 2
    for d in range(n_days):
        eta = a * eta + 0.3 * rng.normal()
        for t in range(N):
            log[d, t] = 5.0 + shape[t] + eta + mu + 0.2 * rng.normal()
            mu = b * mu + 0.15 * rng.normal()
    return log


@pytest.fixture(scope="module")
def history() -> np.ndarray:
    """y of some sessions."""
    return np.exp(_components(DAYS, 0))


@pytest.fixture(scope="module")
def signals() -> np.ndarray:
    """Features without a meaning."""
    return np.random.default_rng(1).normal(size=(DAYS, N, 2))


@pytest.mark.parametrize("kind", FORECASTS, ids=lambda one: one.name)
@pytest.mark.parametrize("at", [0, 1, 17, N - 1])
def test_a_forecast_uses_nothing_from_its_interval_on(
    kind: Forecast, at: int, history: np.ndarray, signals: np.ndarray
) -> None:
    fitted = kind.fit(history[:-1], signals[:-1])
    today, known = history[-1].copy(), signals[-1].copy()
    before = fitted.paths(today, known)
    today[at:] *= 7.0
    known[at + 1 :] += 3.0
    after = fitted.paths(today, known)
    np.testing.assert_array_equal(after[: at + 1], before[: at + 1])
    np.testing.assert_array_equal(fitted.ahead(today, known)[: at + 1], np.diag(before)[: at + 1])


@pytest.mark.parametrize("kind", FORECASTS, ids=lambda one: one.name)
def test_rows_look_ahead_from_their_own_interval(
    kind: Forecast, history: np.ndarray, signals: np.ndarray
) -> None:
    fitted = kind.fit(history[:-1], signals[:-1])
    path = fitted.paths(history[-1], signals[-1])
    assert np.isnan(path[np.tri(N, k=-1, dtype=bool)]).all()
    assert np.isfinite(path[np.triu_indices(N)]).all()
    np.testing.assert_allclose(fitted.ahead(history[-1], signals[-1]), np.diag(path), rtol=1e-12)


@pytest.mark.parametrize("kind", FORECASTS, ids=lambda one: one.name)
def test_no_forecast_lies_below_the_floor_and_zeros_count_as_it(kind: Forecast) -> None:
    values = np.exp(_components(12, 3))
    values[:, ::3] = 0.0
    fitted = kind.fit(values[:-1])
    assert fitted.floor == float(values[:-1][values[:-1] > 0].min())
    assert np.nanmin(fitted.paths(values[-1])) >= np.log(fitted.floor)
    high = replace(kind, floor=1e9).fit(values[:-1])  # of a tick, say
    assert np.nanmin(high.paths(values[-1])) == pytest.approx(np.log(1e9))


def test_the_filter_is_the_conditional_mean_of_one_joint_normal_vector() -> None:
    """Also where some intervals are unknown; solved densely."""
    t, b, q, noise = np.arange(N), 0.9, 0.02, 0.04
    inner = q / (1 - b**2) + (0.1 - q / (1 - b**2)) * b ** (2 * t)  # variance of mu, from 0.1
    joint = 0.25 + inner[np.minimum.outer(t, t)] * b ** np.abs(t[:, None] - t)
    start = {"state": np.array([0.3, -0.1]), "variance": np.diag([0.25, 0.1])}
    model = StateSpace(1e-9, np.zeros(N), params=np.array([0.8, b, 0.09, q, noise]), **start)
    mean = 0.3 - 0.1 * b**t
    drawn = np.random.default_rng(0).multivariate_normal(mean, joint + noise * np.eye(N))
    drawn[[4, 5, 17]] = np.nan
    path = model.paths(np.exp(drawn))
    for now in (0, 5, 6, 18, N - 1):
        seen = np.flatnonzero(np.isfinite(drawn[:now]))
        past = joint[np.ix_(seen, seen)] + noise * np.eye(len(seen))
        gain = np.linalg.solve(past, joint[seen, now:]).T if len(seen) else np.zeros((N - now, 0))
        expected = mean[now:] + gain @ (drawn - mean)[seen]
        np.testing.assert_allclose(path[now, now:], expected, atol=1e-12)


def test_components_are_recovered_and_forecast_as_well_as_they_can_be() -> None:
    """The error of the conditional mean by the true parameters is the least that there is."""
    log = _components(160, 5)
    fitted = StateSpace().fit(np.exp(log[:120]))
    a, b, q_eta, q_mu, noise = fitted.params
    assert a == pytest.approx(0.8, abs=0.15)
    assert b == pytest.approx(0.9, abs=0.05)
    assert np.sqrt([q_eta, q_mu, noise]) == pytest.approx([0.3, 0.15, 0.2], rel=0.2)
    true = replace(fitted, params=np.array([0.8, 0.9, 0.09, 0.0225, 0.04]))
    flat = SessionProfile().fit(np.exp(log[:120]))
    models = {"found": fitted, "true": true, "profile": flat, "stale": fitted}
    square = dict.fromkeys(models, 0.0)
    for d in range(120, 160):
        for name, one in models.items():
            today = one if name == "stale" else one.updated(np.exp(log[:d]))
            square[name] += np.mean(today.errors_of(np.exp(log[d])) ** 2) / 40
    # The least that there is: the variance of one innovation by the filter's own covariance.
    least = _innovation(true.updated(np.exp(log[:159])))
    assert square["true"] == pytest.approx(least, rel=0.1)
    assert square["found"] < 1.03 * square["true"]
    assert square["true"] < min(0.5 * square["profile"], square["stale"])


def _innovation(model: StateSpace) -> float:
    """Mean over a session of the variance of log y given all before."""
    (_, b, _, q, noise), variance, found = model.params, model.variance, []
    for _ in range(N):
        total = variance.sum() + noise
        found.append(total)
        gain = variance.sum(axis=1) / total
        variance = variance - total * np.outer(gain, gain)
        variance = np.diag([1.0, b]) @ variance @ np.diag([1.0, b]) + np.diag([0.0, q])
    return float(np.mean(found))


def test_a_model_is_updated_as_if_it_had_been_fitted_up_to_yesterday(history: np.ndarray) -> None:
    """What it knows of the sessions since: the parameters stay."""
    fitted = StateSpace().fit(history[:16])
    later = fitted.updated(history[:20])
    np.testing.assert_array_equal(later.params, fitted.params)
    np.testing.assert_allclose(fitted.updated(history[:16]).state, fitted.state)
    by_hand = fitted
    for day in history[16:20]:  # filtered one by one, from the state before each
        _, state, variance = by_hand._filtered(
            np.log(day) - fitted.profile, by_hand.state, by_hand.variance
        )
        a, _, q, *_ = fitted.params
        turn = np.diag([a, 1.0])
        variance = turn @ variance @ turn + np.diag([q, 0.0])
        by_hand = replace(by_hand, state=turn @ state, variance=variance)
    np.testing.assert_allclose(later.state, by_hand.state, rtol=1e-9)
    assert ScaledProfile().fit(history[:16]).updated(history[:20]).profile.shape == (N,)


def test_a_regression_finds_a_line_and_trees_find_a_bend() -> None:
    rng = np.random.default_rng(2)
    z = rng.normal(size=(60, N, 1))
    noise = 0.1 * rng.normal(size=(60, N))
    for shape, kind in ((lambda x: 0.5 * x, Regression()), (np.abs, Boosting())):
        y = np.exp(shape(z[:, :, 0]) + noise)
        fitted, flat = kind.fit(y[:50], z[:50]), SessionProfile().fit(y[:50])
        own = np.mean(
            [fitted.errors_of(day, now) ** 2 for day, now in zip(y[50:], z[50:], strict=True)]
        )
        bare = np.mean([flat.errors_of(day) ** 2 for day in y[50:]])
        assert own < 0.25 * bare, kind.name
    line = Regression().fit(np.exp(np.abs(z[:50, :, 0])), z[:50])  # |z| has no line
    bent = np.mean([line.errors_of(np.exp(np.abs(one[:, 0])), one) ** 2 for one in z[50:]])
    assert bent > 0.25 * np.var(np.abs(z))


@pytest.mark.parametrize("level", [0.1, 0.5, 0.9])
def test_conformal_quantiles_cover_as_often_as_they_say(level: float) -> None:
    """Of independent intervals, whatever the law of y: here a skewed one and a wrong forecast."""
    rng, below = np.random.default_rng(4), []
    for _ in range(60):
        y = np.exp(rng.gamma(1.0, size=(13, 20)))
        fitted = ScaledProfile().calibrated(y[:12])
        below.append(np.mean(y[12] <= fitted.quantiles(y[12], [level])[0]))
    error = np.std(below) / np.sqrt(len(below))
    assert np.mean(below) == pytest.approx(level, abs=4 * error + 0.02)  # 80 errors: 1 / 81


def test_a_level_of_the_session_lowers_the_coverage_of_quantiles() -> None:
    """As the docstring says: few held-out sessions are few errors, however many intervals."""
    rng, below = np.random.default_rng(7), []
    for _ in range(200):
        y = np.exp(rng.normal(size=(13, 1)) + 0.1 * rng.normal(size=(13, 20)))
        fitted = SessionProfile().calibrated(y[:12])
        below.append(np.mean(y[12] <= fitted.quantiles(y[12], [0.9])[0]))
    assert 0.6 < np.mean(below) < 0.87


def test_boosted_quantiles_are_of_their_own_level() -> None:
    rng = np.random.default_rng(6)
    z = rng.uniform(0.1, 1.0, size=(40, N, 1))
    y = np.exp(z[:, :, 0] * rng.normal(size=(40, N)))  # the spread of log y is z
    low, high = (
        Boosting(level=level).calibrated(y[:39], z[:39]).quantiles(y[39], [level], z[39])[0]
        for level in (0.1, 0.9)
    )
    width = np.log(high / low)
    assert np.corrcoef(width, z[39, :, 0])[0, 1] > 0.7  # a shift of the point could not know it


def test_what_is_unknown_is_skipped_and_nothing_known_is_refused(history: np.ndarray) -> None:
    gapped = history.copy()
    gapped[:, 0], gapped[3, 5:9] = np.nan, -1.0  # the first interval of every session
    fitted = ScaledProfile().fit(gapped)
    assert fitted.profile[0] == fitted.profile[1]
    assert np.isfinite(fitted.paths(gapped[3])[8]).sum() == N - 8
    with pytest.raises(InsufficientDataError, match="nothing is known of 2 sessions"):
        SessionProfile().fit(np.full((2, 4), np.nan))
    with pytest.raises(ValidationError, match="39 values, the profile 40"):
        fitted.paths(history[0, 1:])
    with pytest.raises(ValidationError, match="each of levels"):
        fitted.quantiles(history[0], [0.0])


@pytest.fixture(scope="module")
def days() -> list[Ladder]:
    """Sessions of a synthetic market."""
    session = Session(39)
    market = preset("thin_stock", session)
    books = market.books(12 * 39, 5, np.random.default_rng(8), flow=market.flow)
    return Ladder.of(books, "buy").by_day(39)


@pytest.mark.parametrize("kind", FORECASTS, ids=lambda one: one.name)
def test_the_adaptive_strategy_decides_step_by_step_as_it_fills(
    kind: Forecast, days: list[Ladder]
) -> None:
    """What is decided on the books so far is what the compiled day does: nothing of later books."""
    shapes = Liquidity.fit(days[:-1], kind, tick=0.01)
    strategy, day = Adaptive(shapes, "eleven days", tick=0.01), days[-1]
    order = Order(3_000.0, np.full(39, 600.0))
    done, remaining = run(strategy, day, 3_000.0, "buy", max_shares=600.0), 3_000.0
    for t in range(38):
        want = strategy.decide(t, remaining, day.take(slice(0, t + 1)), order)
        assert want == pytest.approx(done.filled[t], abs=1e-9), t
        remaining -= done.filled[t]


def test_later_books_change_no_earlier_path(days: list[Ladder]) -> None:
    shapes, day = Liquidity.fit(days[:-1], Regression(), 0.01), days[-1]
    later = np.arange(39) > 20
    changed = replace(
        day, half_spread=np.where(later, 9.0, day.half_spread),
        signals=np.where(later[:, None], 1.0, day.signals),
        size=np.where(later[:, None], 1.0, day.size),
    )  # fmt: skip
    for before, after in zip(shapes.paths(day, 39), shapes.paths(changed, 39), strict=True):
        np.testing.assert_array_equal(before[:21], after[:21])
        assert not np.array_equal(before[21:], after[21:])


def test_spreads_are_forecast_at_half_a_tick_at_least(days: list[Ladder]) -> None:
    log_spread, depth = Liquidity.fit(days[:-1], Boosting(), tick=0.5).paths(days[-1], 39)
    assert log_spread.min() >= np.log(0.25)
    assert (depth > 0).all()


def test_the_clock_of_a_forecast_can_be_shifted(days: list[Ladder]) -> None:
    found = Liquidity.fit(days[:-1], SessionProfile())
    shifted = found.shifted(5)
    np.testing.assert_array_equal(shifted.spread.profile, np.roll(found.spread.profile, -5))
    np.testing.assert_array_equal(shifted.depth.profile, np.roll(found.depth.profile, -5))


def test_features_of_a_sell_mirror_those_of_a_buy() -> None:
    market = preset("thin_stock", Session(39))
    books = market.books(39, 5, np.random.default_rng(1), flow=market.flow)
    buy, sell = (book_features(Ladder.of(books, side)) for side in ("buy", "sell"))
    np.testing.assert_allclose(buy[:, :4], -sell[:, :4], atol=1e-12)
    np.testing.assert_allclose(buy[:, 4:8], sell[:, 4:8], atol=1e-12)
    assert np.abs(buy[:, :4]).max() <= 1.0
