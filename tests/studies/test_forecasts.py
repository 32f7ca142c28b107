"""The judgement of forecasts: paired, nested, causal, and right on markets whose truth is known."""

import dataclasses

import numpy as np
import pandas as pd
import pytest

from research_lib import studies
from research_lib.config import ModelConfig
from research_lib.evaluation import FORECASTS, Adaptive, Ladder, Order, Twap, order_costs, run
from research_lib.market import BookSnapshots, Session, Trades, preset
from research_lib.studies import forecasts as module
from research_lib.studies.mid_moves import MODELS

SESSION = Session(39)
CURVE = studies.curve_fit("linear", [200, 500, 1000], SESSION, ModelConfig(min_trade_size=10.0))


@pytest.fixture(scope="module")
def sessions() -> studies.Sessions:
    """Synthetic sessions with trades."""
    return studies.Sessions.drawn(preset("thin_stock", SESSION), 30, 5, np.random.default_rng(3))


@pytest.fixture(scope="module")
def experiment(sessions: studies.Sessions) -> studies.Experiment:
    """An order in each of the last six."""
    known = sessions.known(CURVE, fit_days=24, refit_days=6)
    costs = studies.accountings(known[0], SESSION, "buy")
    return studies.Experiment(sessions, known, costs, 5_000.0, 0.1)


def _states(n: int = 600, seed: int = 0) -> BookSnapshots:
    """A book a second for ten minutes, with a trade after each."""
    rng = np.random.default_rng(seed)
    time = 1_743_687_000 * 10**9 + np.arange(n) * 10**9
    mid = 100.0 + np.cumsum(rng.choice([-0.01, 0.0, 0.01], n))
    bid, ask = (mid - 0.01)[:, None], (mid + 0.01)[:, None]
    bid_size, ask_size = rng.integers(1, 50, (2, n, 1)).astype(float)
    side = rng.choice([-1, 1], n)
    trades = Trades(time + 10**8, mid + 0.01 * side, rng.integers(1, 9, n), side)
    return dataclasses.replace(
        BookSnapshots(time, bid, bid_size, ask, ask_size, "X"), trades=trades
    )


def _recorded(states: BookSnapshots) -> studies.Sessions:
    session = Session(10, open="09:30", close="09:40")
    return studies.Sessions(states.sample(session), states, session, 0.01)


def test_a_panel_measures_what_is_counted_by_hand() -> None:
    states = _states()
    panel = studies.Panel.of(_recorded(states))
    t = 3
    inside = slice(60 * t, 60 * (t + 1))
    assert panel.quantities["volume"][0, t] == states.trades.size[inside].sum()
    assert panel.quantities["spread"][0, t] == pytest.approx(0.01)
    book = (states.bid_size + states.ask_size)[60 * t, 0]
    assert panel.quantities["depth"][0, t] == book
    grid = np.log(states.mid[60 * t + 5 * np.arange(13)])
    assert panel.quantities["volatility"][0, t] == pytest.approx(np.sum(np.diff(grid) ** 2) ** 0.5)


def test_signals_of_the_mid_use_no_state_after_the_start_of_their_interval() -> None:
    states = _states()
    late = np.arange(600) > 240  # after the start of interval 4
    jump = np.where(late, 1.0, 0.0)[:, None]
    changed = dataclasses.replace(
        states, bid_price=states.bid_price + jump, ask_price=states.ask_price + jump,
        bid_size=np.where(late[:, None], 1.0, states.bid_size),
        trades=dataclasses.replace(
            states.trades, aggressor=np.where(late, 1, states.trades.aggressor),
            price=states.trades.price + jump[:, 0],
        ),
    )  # fmt: skip
    one, other = (studies.MidPanel.of(_recorded(books)) for books in (states, changed))
    np.testing.assert_array_equal(one.signals[0, :5], other.signals[0, :5])
    assert not np.array_equal(one.signals[0, 5:], other.signals[0, 5:])


def test_flow_and_move_before_are_those_of_the_window() -> None:
    states = _states()
    panel = studies.MidPanel.of(_recorded(states))
    at = {name: panel.signals[0, 5, k] for k, name in enumerate(panel.names)}
    window = slice(300 - 60, 300)  # trades stand after their book: those of 240 to 299 s
    signed, size = states.trades.signed_size[window], states.trades.size[window]
    assert at["trades over 60 s"] == pytest.approx(signed.sum() / size.sum())
    assert at["move over 60 s"] == pytest.approx(np.log(states.mid[300] / states.mid[240]))
    move = states.mid[300 + 1 + 60] / states.mid[300 + 1] - 1.0
    assert panel.moves[60.0, 1.0][0, 5] == pytest.approx(move, rel=1e-9)


def test_skill_is_that_of_the_definition() -> None:
    rng = np.random.default_rng(0)
    forecast = rng.normal(size=(30, 50))
    moves = forecast + 2.0 * rng.normal(size=(30, 50))
    found = studies.skill(forecast, moves)
    assert found["r2_%"] == pytest.approx(
        100 * (1 - np.sum((moves - forecast) ** 2) / np.sum(moves**2))
    )
    assert found["lower_%"] < 20.0 < found["upper_%"]  # 1 of 1 + 4
    assert found["slope"] == pytest.approx(1.0, abs=0.2)
    perfect = studies.skill(moves, moves)
    assert (perfect["r2_%"], perfect["lower_%"], perfect["positive_%"]) == (100, 100, 100)
    assert np.isnan(studies.skill(0 * moves, moves)["slope"])


def test_the_interval_of_a_ratio_covers_as_often_as_it_says() -> None:
    """Gamma losses: the ratio of means 0.5, with a common level of each session."""
    rng, hits = np.random.default_rng(1), 0
    for _ in range(400):
        level = rng.gamma(4.0, size=40)
        top, bottom = 0.5 * level * rng.gamma(9.0, size=40), level * rng.gamma(9.0, size=40)
        found = studies.ratio_interval(top, bottom)
        assert found.mean == pytest.approx(100 * top.sum() / bottom.sum())
        hits += found.lower <= 50.0 <= found.upper
    assert 0.92 <= hits / 400 <= 0.98  # 0.95, Monte-Carlo error 0.011


def test_a_market_with_a_known_mean_is_forecast_as_far_as_it_can_be() -> None:
    """The regression reaches the R2 of the conditional mean; shuffled signals have none."""
    market, n = preset("deep_stock", Session(390)), 24
    sessions = studies.Sessions.drawn(market, n, 5, np.random.default_rng(5))
    panel = studies.MidPanel.of(sessions)
    table = studies.skill_table(panel, 16, refit=8)["r2_%"].xs(60.0)
    expected = market.expected_moves(n * 390, 5, np.random.default_rng(5)).reshape(n, 390)
    known = expected / sessions.books.mid.reshape(n, 390)
    bound = studies.skill(known[16:], panel.moves[60.0, 0.0][16:])["r2_%"]
    assert bound > 5.0
    in_use, *of_all = (table[0.0, name] for name in MODELS)
    assert all(0.7 * bound < one < bound + 1.0 for one in of_all)
    assert 0.0 < in_use < min(of_all)  # its two signals are not all that is known
    assert table[0.0, "shuffled sessions"] < 0.5
    assert table[0.0, "one hour stale"] < 0.5
    assert table[0.0, "oracle"] == 100.0


def test_forecasts_of_later_sessions_do_not_see_them(sessions: studies.Sessions) -> None:
    two = dataclasses.replace(sessions, books=sessions.books.take(np.arange(28 * 39)))
    panel, later = studies.Panel.of(two), np.arange(28)[:, None] > 26
    changed = dataclasses.replace(
        panel,
        quantities={
            name: np.where(later, 3.0 * one, one) for name, one in panel.quantities.items()
        },
        features=np.where(later[..., None], 2.0 + panel.features, panel.features),
    )
    first, second = (studies.forecast_errors(one, 26, FORECASTS[:4], 1) for one in (panel, changed))
    early = first["session"] == 26
    pd.testing.assert_frame_equal(first[early], second[early])
    assert not first[~early].equals(second[~early])


def test_errors_are_paired_with_those_of_the_profile(sessions: studies.Sessions) -> None:
    panel = studies.Panel.of(sessions)
    kinds = [*FORECASTS[:2], *studies.controls(10.0)]
    errors = studies.forecast_errors(panel, 8, kinds, refit=11)
    table = studies.error_table(errors)
    own = errors.pivot_table("square", ["quantity", "session"], "forecast").loc["depth"]
    ratio = own["scaled profile"].mean() / own["profile"].mean()
    assert table.loc[("depth", "scaled profile"), "difference_%"] == pytest.approx(
        100.0 * (ratio - 1.0)
    )
    assert (table.xs("oracle", level="forecast")["log_rmse"] == 0).all()
    assert table.loc[("volume", "yesterday"), "difference_%"] > 20.0  # noise of two days for one
    assert table.loc[("volume", "profile"), "inside_%"] == pytest.approx(80.0, abs=8.0)


def test_controls_know_what_their_names_say() -> None:
    rng = np.random.default_rng(0)
    y = np.exp(rng.normal(size=(1, 12, 1)).repeat(20, axis=2)[0] + 0.1 * rng.normal(size=(12, 20)))
    constant, yesterday, shuffled, stale, oracle = (
        one.fit(y[:-1])
        for one in studies.controls(60.0 / 5)  # an hour is five intervals
    )
    today, other = y[-1], y[-1] * np.r_[np.ones(15), np.full(5, 9.0)]
    assert np.ptp(constant.paths(today)[0]) == 0
    np.testing.assert_allclose(np.exp(yesterday.paths(today)[0]), y[-2])
    np.testing.assert_allclose(np.exp(yesterday.updated(y).paths(today)[0]), today)
    np.testing.assert_array_equal(shuffled.paths(today), shuffled.paths(other))
    np.testing.assert_array_equal(stale.ahead(today)[:20], stale.ahead(other)[:20])
    assert not np.array_equal(
        stale.paths(today)[10], stale.paths(today * np.r_[5.0, np.ones(19)])[10]
    )
    np.testing.assert_allclose(oracle.paths(today)[4, 4:], np.log(today[4:]))


def test_fractions_of_a_known_volume_are_its_shares_and_sum_to_one() -> None:
    volume = np.random.default_rng(0).gamma(2.0, size=26)
    oracle = module.Oracle().fit(volume[None] * [[1.0], [2.0]])
    found = studies.vwap_fractions(oracle.paths(volume))
    np.testing.assert_allclose(found, volume / volume.sum(), rtol=1e-12)
    noisy = studies.vwap_fractions(np.random.default_rng(1).normal(size=(26, 26)))
    assert noisy.sum() == pytest.approx(1.0)
    assert (noisy >= 0).all()


def test_given_fractions_are_filled_as_they_are_decided(sessions: studies.Sessions) -> None:
    day = Ladder.of(sessions.books, "buy").by_day(39)[0]
    share = np.random.default_rng(0).dirichlet(np.ones(39))
    strategy = studies.GivenFractions("by volume", {int(day.time[0]): share})
    done = run(strategy, day, 1_000.0, "buy")
    assert done.shares == pytest.approx(1_000.0 * share)
    order = Order(1_000.0, np.full(39, np.inf))
    want = strategy.decide(7, 1_000.0 - done.filled[:7].sum(), day.take(slice(0, 8)), order)
    assert want == pytest.approx(done.filled[7])


def test_costs_by_forecast_are_those_of_the_one_accounting(
    experiment: studies.Experiment, sessions: studies.Sessions
) -> None:
    shapes = studies.given_liquidity(sessions, FORECASTS[0], 24, 3, 24)
    orders = studies.adaptive_orders(experiment, {"profile": shapes}, {}, [Twap()])
    total, paid = studies.session_costs(experiment, orders)
    in_use = f"mid: {module.MID_IN_USE}"
    assert list(total) == [module.IN_USE, "profile", in_use, "TWAP"]
    usual = [one for one in experiment.orders() if one.name == "adaptive"]
    again = order_costs(usual, experiment.headline)
    assert total[in_use].mean() == pytest.approx(again["total_bps"].mean(), rel=1e-12)
    without = again["total_bps"] - again["selection_bps"]
    assert paid[in_use].mean() == pytest.approx(without.mean(), rel=1e-12)
    table = studies.forecast_costs(total, "TWAP")
    gap = total["profile"].mean() - total["TWAP"].mean()
    assert table.loc["profile", "difference_bps"] == pytest.approx(gap)
    assert table["lower_bps"].isna().all()  # six sessions are described


def test_liquidity_of_a_session_is_forecast_by_those_before_it(sessions: studies.Sessions) -> None:
    found = studies.given_liquidity(sessions, FORECASTS[0], 2, 5, 3)
    days = Ladder.of(sessions.books, "sell").by_day(39)
    path = found.paths(days[8], 39)[0]
    fitted = np.array([day.half_spread for day in days[4:7]])  # the last three before the refit
    assert path[0, -1] == pytest.approx(np.log(fitted[:, -1]).mean(), abs=0.05)  # smoothed a little


def test_the_nested_choice_uses_earlier_sessions_alone() -> None:
    rng = np.random.default_rng(0)
    costs = pd.DataFrame(rng.normal(size=(40, 3)), columns=["in use", "worse", "better"])
    costs["better"] -= 3.0
    chosen = studies.nested_choice(costs, "in use")
    assert (chosen[:20] == "in use").all()
    assert (chosen[20:] == "better").all()
    changed = costs.copy()
    changed.loc[30:, "better"] += 100.0
    assert studies.nested_choice(changed, "in use")[:31].equals(chosen[:31])


def test_the_model_confidence_set_keeps_equals_and_drops_the_bad() -> None:
    rng = np.random.default_rng(2)
    losses = pd.DataFrame(rng.normal(size=(60, 3)), columns=list("abc"))
    losses["c"] += 2.0
    assert studies.confidence_set(losses).tolist() == [1.0, 1.0, 0.0]
    assert studies.confidence_set(losses[:19]).isna().all()
    twins = losses.assign(d=losses["a"], e=losses["c"])  # as of forecasts that decide alike
    assert studies.confidence_set(twins).tolist() == [1.0, 1.0, 0.0, 1.0, 0.0]
    assert studies.confidence_set(twins[["a", "d"]]).tolist() == [1.0, 1.0]


def test_a_forecast_is_chosen_only_beyond_its_interval(
    experiment: studies.Experiment, monkeypatch: pytest.MonkeyPatch
) -> None:
    few, reason = studies.choose_forecast(experiment, CURVE, 8)
    assert few is experiment
    assert "8 earlier sessions are too few" in reason
    none, reason = studies.choose_forecast(experiment, CURVE, 24)
    assert none is experiment
    assert "no other one is cheaper beyond its interval on the last of 12 earlier" in reason
    # Gains of mean 0.5 and 0.6, of which the interval of the first reaches below 0.
    noise, swing = np.arange(12.0), np.tile([1.0, -1.0], 6)
    gains = 0.5 + 0.9 * swing, 0.6 + 0.8 * swing
    same = dict.fromkeys(["scaled profile", "state space", "boosting"], noise)
    monkeypatch.setattr(
        module, "session_costs", lambda *_: (
            pd.DataFrame({module.IN_USE: noise, "mid: in use": noise - 9.0,
                          "profile": noise - gains[0], **same,
                          "regression": noise - gains[1]}), None,
        ),
    )  # fmt: skip
    chosen, reason = studies.choose_forecast(experiment, CURVE, 24)
    assert chosen.forecast is FORECASTS[3]
    assert reason.startswith("regression, 0.600 bps cheaper")


def test_the_chosen_forecast_is_that_of_the_adaptive_strategy(
    experiment: studies.Experiment,
) -> None:
    chosen = dataclasses.replace(experiment, forecast=FORECASTS[1])
    prior = experiment.known[0].priors["buy"]
    found = {one.name: one for one in chosen.strategies(prior)}
    assert isinstance(found["adaptive"], Adaptive)
    assert found["adaptive"].shapes.spread.name == "scaled profile"
    usual = {one.name: one for one in experiment.strategies(prior)}
    assert not hasattr(usual["adaptive"].shapes, "spread")
