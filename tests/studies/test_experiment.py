"""The experiment that two notebooks share: what it hands on is what its parts give, called by hand."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from research_lib import ImpactModel, ModelConfig, studies
from research_lib import evaluation as ev
from research_lib.errors import ValidationError
from research_lib.impact import ExponentialSumKernel
from research_lib.market import QualityPolicy, Session, assess, preset

SESSION = Session(39)
SIZES = [200.0, 500.0, 1000.0]
SHARES = 4_000.0


def _experiment(fit_days: int, **settings: float) -> studies.Experiment:
    """Two evaluated sessions, known by one before them or by another market."""
    market, rng = preset("thin_stock", SESSION), np.random.default_rng(3)
    sessions = studies.Sessions.drawn(market, fit_days + 2, 5, rng)
    elsewhere = {} if fit_days else studies.draw_elsewhere(["deep_stock"], SESSION, 5, rng)
    fit = studies.curve_fit("linear", SIZES, SESSION, ModelConfig())
    known = sessions.known(fit, fit_days=fit_days, elsewhere=elsewhere)
    costs = studies.accountings(known[0], SESSION, "buy")
    return studies.Experiment(sessions, known, costs, SHARES, 0.2, **settings)


def test_the_fit_is_that_of_the_facade() -> None:
    """Bit by bit: the strategy notebook shows the facade's schedule beside these priors."""
    books = preset("thin_stock", SESSION).books(3 * 39, 5, np.random.default_rng(0))
    model = ImpactModel("linear", ModelConfig(), SESSION)
    walked = model.estimate_slippage(books, SIZES, "sell", 39)
    facade = model.fit_model(walked, test_fraction=0).curve
    own = studies.curve_fit("linear", SIZES, SESSION, ModelConfig())(books, "sell")
    assert np.array_equal(own.slippage(300.0), facade.slippage(300.0))


def test_sessions_are_those_of_the_random_stream_and_nothing_else_is_drawn() -> None:
    market, rng = preset("thin_stock", SESSION), np.random.default_rng(7)
    sessions = studies.Sessions.drawn(market, 2, 5, rng)
    again = np.random.default_rng(7)
    raw = market.books(2 * 39, 5, again, flow=market.flow)
    by_hand = assess(raw, SESSION, QualityPolicy())[0].sample(SESSION)
    assert np.array_equal(sessions.books.ask_price, by_hand.ask_price)
    assert rng.random() == again.random()


def test_late_sessions_are_the_same_where_no_state_between_books_is_known() -> None:
    one = _experiment(1)
    late = one.sessions.late(one.known, 5.0)
    assert [a is b for a, b in zip(late, one.known, strict=True)] == [True, True]


@pytest.mark.parametrize(
    ("fit_days", "benchmark"), [(1, {"best benchmark"}), (0, set(studies.SIMPLE))]
)
def test_the_benchmark_is_known_before_or_the_cheaper_of_two(
    fit_days: int, benchmark: set[str]
) -> None:
    one = _experiment(fit_days)
    orders = one.orders()
    name = one.benchmark(orders)
    assert name in benchmark
    totals = one.compare(orders, benchmark=name)["total_bps"]
    assert totals[name] == totals[[*benchmark]].min()


def test_a_difference_is_that_of_all_strategies_together() -> None:
    one = _experiment(1)
    whole = one.compare(one.orders(refill=0.5)).loc["adaptive", "difference_bps"]
    alone = one.difference("best benchmark", refill=0.5)["difference_bps"]
    assert alone == pytest.approx(whole, rel=1e-12)
    assert alone != one.difference("best benchmark")["difference_bps"]


def test_the_headline_carries_impact_where_a_kernel_is_known() -> None:
    lasting = ev.CarriedImpact("borrowed", ExponentialSumKernel(0.0, 0.02), source="elsewhere")
    lower, borrowed = ev.Accounting(), ev.Accounting(lasting)
    one = replace(_experiment(1), accountings=[lower, borrowed])
    assert one.headline is borrowed
    assert replace(one, accountings=[lower]).headline is lower
    assert studies.kernel_table(one.accountings)["after 1 h"].fillna(0.0).tolist() == [0.0, 0.02]


def test_the_main_table_has_intervals_only_where_there_are_some() -> None:
    table = _experiment(1).compare(_experiment(1).orders())
    assert "95 % interval" not in studies.cost_table(table)
    table[["lower_bps", "upper_bps", "p_value"]] = [-2.0, -1.0, 0.01]
    shown = studies.cost_table(table)
    assert set(shown["95 % interval"]) == {"-2.00 to -1.00"}
    assert set(shown["p"]) == {"0.0100"}
    assert shown["completed_%"].max() <= 100.0
    assert list(shown.columns[:5]) == list(ev.PARTS)


CHANGES = pd.DataFrame(
    {"difference_bps": [-2.5, -0.5, -9.0, -1.5]},
    index=pd.MultiIndex.from_tuples(
        [("cap", "2 times"), ("latency", "10 s"), ("size", "2 times"), ("prior", "deep")]
    ),
)


def _headline(value: float, lower: float = np.nan, upper: float = np.nan) -> pd.Series:
    return pd.Series({"difference_bps": value, "lower_bps": lower, "upper_bps": upper})


def test_what_refutes_is_what_the_plan_says() -> None:
    """A change out of the interval, but not of the size; an interval with 0; a high placebo rank."""
    found = studies.refutations(CHANGES, _headline(-1.5, -3.0, -1.0), 0.04)
    assert found == ["latency 10 s (-0.500 bps)"]
    found = studies.refutations(CHANGES[:1], _headline(-2.0, -3.0, 1.0), 0.06)
    assert found == ["its interval holds 0", "placebo of the prior's clock (p = 0.0600)"]


def test_without_an_interval_only_its_own_priors_can_withdraw_a_headline() -> None:
    assert studies.refutations(CHANGES, _headline(-1.5), 0.9) == []
    (found,) = studies.refutations(CHANGES, _headline(-1.0), 0.9)
    assert found == "the difference lies outside the range of its own priors (-1.50 to -1.50 bps)"


def test_the_verdict_is_one_sentence_for_each_case() -> None:
    span = "the difference ranges from -9.00 to -0.500 bps over the choices tried."
    described = studies.verdict([], CHANGES, _headline(-1.5), 1)
    assert described == f"Descriptive: 1 session, no interval; {span}"
    withdrawn = studies.verdict(["so"], CHANGES, _headline(-1.5), 3)
    assert withdrawn == f"Withdrawn: so; 3 sessions, no interval; {span}"
    stands = studies.verdict([], CHANGES, _headline(-1.5, -3.0, -1.0), 40)
    assert stands == f"Stands by the rules of the analysis plan; {span}"
    many = studies.verdict(list("abcde"), CHANGES, _headline(-1.5, -3.0, -1.0), 40)
    assert many == f"Refuted by the rules of the analysis plan: a; b; c, and 2 more; {span}"


def test_an_urgency_that_costs_more_at_more_risk_is_named() -> None:
    frontier = studies.urgency_frontier(_experiment(1), [1.0, 30.0])
    assert frontier["timing_risk_bps"].is_monotonic_decreasing
    for one, row in frontier.iterrows():
        other = frontier.drop(index=one).iloc[0]
        worse = (
            row["total_bps"] > other["total_bps"]
            and row["timing_risk_bps"] > other["timing_risk_bps"]
        )
        assert np.isfinite(row["dominated_by"]) == worse


def _recorded(n_days: int = 4) -> studies.Sessions:
    """Sessions of 39 intervals with every state, 390 a day."""
    session = Session(390)
    market = preset("thin_stock", session)
    states = market.books(n_days * 390, 5, np.random.default_rng(5), flow=market.flow)
    return studies.Sessions(states.sample(SESSION), states, SESSION, 0.01)


def test_other_intervals_are_cut_from_the_same_recording() -> None:
    sessions = _recorded()
    coarse = sessions.resampled(13)
    assert len(coarse.books) == 4 * 13
    assert np.array_equal(coarse.books.ask_price, sessions.states.sample(Session(13)).ask_price)  # type: ignore[union-attr]
    drawn = studies.Sessions.drawn(preset("thin_stock", SESSION), 2, 5, np.random.default_rng(0))
    with pytest.raises(ValidationError, match="no states between its intervals"):
        drawn.resampled(13)


def test_shuffled_priors_are_of_other_sessions_and_never_of_their_own() -> None:
    """With all others but one each session's prior is that of the rest, whatever the draw."""
    sessions = _recorded(3)
    fit = studies.curve_fit("linear", SIZES, SESSION, ModelConfig())
    known = sessions.shuffled(fit, 2, np.random.default_rng(0))
    assert [len(one.books) for one in known] == [39, 39, 39]
    first_two = sessions.books.take(np.arange(78))
    by_hand = ev.Prior.from_books(first_two, "buy", SESSION, "others", fit)
    assert np.array_equal(known[2].priors["buy"].profile.spread, by_hand.profile.spread)
    assert not np.array_equal(known[0].priors["buy"].profile.spread, by_hand.profile.spread)


def test_an_order_that_arrives_in_a_gap_meets_the_next_book() -> None:
    """The recording is silent from the first to the sixth second of every minute."""
    sessions = _recorded(1)
    states = sessions.states
    assert states is not None
    minute = 60 * 10**9
    silent = replace(states, time=states.time // minute * minute + 6 * 10**9)
    stale = ev.sample_states(silent, SESSION, 1.0)
    fresh = ev.sample_states(silent, SESSION, 1.0, max_age=2.0)
    at = np.searchsorted(silent.time, fresh.time, "right")
    known = stale.complete & (at < len(silent))
    assert known.sum() > 30
    assert np.array_equal(fresh.ask_price[known], silent.ask_price[at[known]])
    assert np.array_equal(stale.ask_price[known], silent.ask_price[at[known] - 1])
    assert np.array_equal(fresh.time, stale.time)
    unchanged = ev.sample_states(silent, SESSION, 1.0, max_age=3_600.0)
    assert np.array_equal(unchanged.ask_price, stale.ask_price, equal_nan=True)
