"""Strategies: no look-ahead, complete, capped, compiled as decided, and cheaper where they should
be.

Tolerances. 1e-6 shares of orders of 1e4: rounding of what is added up and taken off over 390
intervals, by compiled loops in one order and by NumPy in another; 1e-9 of a cost likewise.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from evaluation.profiles import flat, of_market

from research_lib.errors import ValidationError
from research_lib.evaluation import (
    Adaptive,
    Execution,
    Ladder,
    LiquidityProfile,
    Order,
    Pov,
    Prior,
    Scheduled,
    StaticOptimal,
    Strategy,
    TiltedShape,
    Twap,
    Vwap,
    clairvoyant,
    mid_volatility,
    replay,
    run,
    standard_strategies,
)
from research_lib.execution import Schedule, allocate, twap
from research_lib.impact import LinearImpact
from research_lib.market import BookSnapshots, Session, SyntheticMarket, preset

HALF_HOURS = Session(39)
NAMES = ["TWAP", "VWAP", "POV", "static optimal", "adaptive", "risk-averse adaptive", "rolling"]


def _day(seed: int, n_levels: int = 6) -> BookSnapshots:
    return preset("thin_stock", HALF_HOURS).books(39, n_levels, np.random.default_rng(seed))


@pytest.fixture(scope="module")
def strategies() -> dict[str, Strategy]:
    prior = Prior.from_market(
        preset("wide_spread_stock", HALF_HOURS), "buy", np.random.default_rng(0)
    )
    made = standard_strategies(prior, risk_aversion=1e-5, price=30.0)
    untilted = TiltedShape(prior.profile, deviation=0)
    made.append(Adaptive(untilted, prior.source, "rolling", np.ones(5)))
    return {one.name: one for one in made}


class _StepByStep(Strategy):
    """Decides as another does, and is filled by the interface that everybody may implement, not
    by compiled loops.
    """

    def __init__(self, other: Strategy) -> None:
        self.other, self.name, self.fitted_on = other, other.name, other.fitted_on

    def decide(self, t: int, remaining: float, seen: Ladder, order: Order) -> float:
        return self.other.decide(t, remaining, seen, order)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(("refill", "cap"), [(1.0, None), (0.3, 700.0), (0.3, 400.0)])
def test_the_compiled_loop_decides_as_the_interface(
    strategies: dict[str, Strategy], name: str, refill: float, cap: float | None
) -> None:
    ladder = Ladder.of(_day(1), "buy")
    seen = Ladder.of(_day(2), "buy")
    for shown in (ladder, seen):
        fast, slow = (
            run(
                one, ladder, 9_000.0, "buy", shown=shown, refill=refill,
                max_shares=cap,
            )
            for one in (strategies[name], _StepByStep(strategies[name]))
        )  # fmt: skip
        assert fast.filled == pytest.approx(slow.filled, abs=1e-6)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("t", [1, 11, 38])
@pytest.mark.parametrize("refill", [1.0, 0.5])
def test_no_decision_depends_on_the_future(
    strategies: dict[str, Strategy], name: str, t: int, refill: float
) -> None:
    books, other = _day(3), _day(4)
    later = np.arange(39) >= t
    fields = ("bid_price", "bid_size", "ask_price", "ask_size")
    mixed = {field: np.where(later[:, None], 3 * other[field], books[field]) for field in fields}
    changed = dataclasses.replace(books, **mixed)
    one, two = (
        run(strategies[name], day, 12_000, "buy", refill=refill) for day in (books, changed)
    )
    assert np.array_equal(one.filled[:t], two.filled[:t])
    assert one.cost_by_interval[:t].tolist() == two.cost_by_interval[:t].tolist()
    assert not np.array_equal(one.cost_by_interval, two.cost_by_interval)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("side", ["buy", "sell"])
@pytest.mark.parametrize("size", [9_000, 15_000])  # 28 and 46 % of all that is ever on display
def test_orders_are_conserved_capped_and_completed(
    strategies: dict[str, Strategy], name: str, side: str, size: float
) -> None:
    for seed in range(8):
        done = run(strategies[name], _day(seed), size, side, max_shares=900.0)
        assert done.shares.sum() == pytest.approx(size, abs=1e-6)
        assert done.filled.sum() + done.unfilled == pytest.approx(size, abs=1e-6)
        assert done.filled.max() <= 900.0 + 1e-9
        if isinstance(strategies[name], Adaptive) and size == 9_000:
            assert done.unfilled == pytest.approx(0.0, abs=1e-6)
        if done.unfilled > 1e-6:  # only where the last book, or its cap, gave all it had
            last = Ladder.of(_day(seed), side).depth[38]
            assert done.filled[-1] == pytest.approx(min(last, 900.0), abs=1e-9)


@pytest.mark.parametrize("name", NAMES)
def test_selling_mirrors_buying(strategies: dict[str, Strategy], name: str) -> None:
    books = _day(5)
    mirrored = BookSnapshots(
        books.time, 100 - books.ask_price, books.ask_size, 100 - books.bid_price, books.bid_size
    )
    buy, sell = (
        run(strategies[name], books, 12_000, "buy"),
        run(strategies[name], mirrored, 12_000, "sell"),
    )
    assert sell.filled == pytest.approx(buy.filled, abs=1e-6)
    assert sell.cost == pytest.approx(buy.cost, rel=1e-9)


@pytest.mark.parametrize("name", [name for name in NAMES if name != "risk-averse adaptive"])
def test_decisions_do_not_depend_on_the_currency(
    strategies: dict[str, Strategy], name: str
) -> None:
    books = _day(6)
    dear = dataclasses.replace(
        books, bid_price=7.3 * books.bid_price, ask_price=7.3 * books.ask_price
    )
    one, other = (
        run(strategies[name], books, 12_000, "buy"),
        run(strategies[name], dear, 12_000, "buy"),
    )
    assert other.filled == pytest.approx(one.filled, abs=1e-6)
    assert other.cost_bps == pytest.approx(one.cost_bps, rel=1e-9)


def test_the_adaptive_decision_is_the_exact_multipliers() -> None:
    """A twin that sorts all steps of all books: nothing is binned, nothing compiled."""
    market = preset("thin_stock", HALF_HOURS)
    profile = of_market(market, "itself")
    ladder = Ladder.of(_day(7), "buy")
    done = run(
        Adaptive(TiltedShape(profile, 0), "itself", weights=np.ones(8), caution=0.0),
        ladder,
        12_000,
        "buy",
    )
    remaining = 12_000.0
    for t in range(38):
        known = range(max(0, t - 7), t + 1)
        price = np.concatenate([ladder.premium[k] / profile.spread[k] for k in known])
        shares = np.concatenate([ladder.size[k] / profile.depth[k] for k in known]) / len(known)
        prices = np.concatenate(
            [np.outer(profile.spread[t + 1 :], price).ravel(), ladder.premium[t]]
        )
        sizes = np.concatenate([np.outer(profile.depth[t + 1 :], shares).ravel(), ladder.size[t]])
        order = np.argsort(prices, kind="stable")
        multiplier = prices[order][np.searchsorted(np.cumsum(sizes[order]), remaining)]
        # Bins round prices up by half a per cent each: of the seen book, of the book to come, of
        # the multiplier.
        least, most = (
            ladder.size[t][ladder.premium[t] <= multiplier * factor].sum()
            for factor in (1 - 1e-9, 1.005**3 + 1e-9)
        )
        assert min(least, remaining) - 1e-6 <= done.filled[t] <= min(most, remaining) + 1e-6
        remaining -= done.filled[t]
    assert 0 < done.filled[:38].sum() < 12_000


@pytest.mark.slow
@pytest.mark.parametrize("side", ["buy", "sell"])
@pytest.mark.parametrize(
    ("name", "other", "preset_name"),
    [("FROG", "GOOG", "wide_spread_stock"), ("GOOG", "FROG", "thin_stock")],
)
@pytest.mark.parametrize("shape", ["other stock", "preset of the other", "generic market"])
def test_adaptive_saves_two_fifths_and_three_quarters_of_the_attainable_on_real_days(
    real_ladders: dict[tuple[str, str], Ladder],
    name: str,
    other: str,
    preset_name: str,
    side: str,
    shape: str,
) -> None:
    profile = {
        "other stock": lambda: LiquidityProfile.from_ladders([real_ladders[other, side]], other),
        "preset of the other": lambda: of_market(preset(preset_name), preset_name),
        "generic market": lambda: of_market(SyntheticMarket(), "defaults"),
    }[shape]()
    ladder = real_ladders[name, side]
    ruler, best = run(Twap(), ladder, 20_000, side), clairvoyant(ladder, 20_000, side)
    done = run(Adaptive(TiltedShape(profile), shape), ladder, 20_000, side)
    assert done.unfilled == ruler.unfilled == pytest.approx(0.0, abs=1e-6)
    assert 1 - done.cost / ruler.cost >= 0.40
    assert (ruler.cost - done.cost) / (ruler.cost - best.cost) >= 0.75


@pytest.mark.parametrize("side", ["buy", "sell"])
@pytest.mark.parametrize(
    ("name", "size"), [("thin_stock", 2e4), ("wide_spread_stock", 2e4), ("deep_stock", 2e7)]
)
def test_adaptive_saves_on_every_preset_with_the_shape_of_earlier_days(
    name: str, size: float, side: str
) -> None:
    days = Ladder.of(preset(name).books(390 * 8, 10, np.random.default_rng(11)), side).by_day(390)
    profile = LiquidityProfile.from_ladders(days[:5], "days 1 to 5")
    for day in days[5:]:
        ruler, done = (
            run(one, day, size, side)
            for one in (Twap(), Adaptive(TiltedShape(profile), "days 1 to 5"))
        )
        assert done.unfilled <= 1e-6 * size
        assert done.cost_per_share < ruler.cost_per_share


@pytest.mark.slow
def test_risk_aversion_buys_less_timing_risk_at_a_higher_cost(
    real_ladders: dict[tuple[str, str], Ladder],
) -> None:
    ladder = real_ladders["FROG", "buy"]
    profile = LiquidityProfile.from_ladders([real_ladders["GOOG", "buy"]], "GOOG")
    sigma = mid_volatility([ladder])
    done = [run(Adaptive(TiltedShape(profile), "GOOG"), ladder, 20_000, "buy")] + [
        run(
            Adaptive(TiltedShape(profile), "GOOG", risk_aversion=a, volatility=sigma),
            ladder,
            20_000,
            "buy",
        )
        for a in (1e-5, 1e-4, 1e-3)
    ]
    assert np.all(np.diff([one.timing_risk_bps for one in done]) < 0)
    assert np.all(np.diff([one.cost for one in done]) > 0)


def test_without_variation_or_shape_adaptive_costs_what_twap_does() -> None:
    """One and the same book all day: every schedule that stays within the touch pays the
    half-spread.
    """
    n = 20
    books = BookSnapshots(
        np.arange(n),
        np.full((n, 1), 99.0),
        np.full((n, 1), 500.0),
        np.full((n, 1), 101.0),
        np.full((n, 1), 500.0),
    )
    done: list[Execution] = [
        run(one, books, 4_000, "buy")
        for one in (Twap(), Adaptive(TiltedShape(flat(n)), "nothing"))
    ]  # fmt: skip
    # 4,000 shares at 1: the sum of 20 children may round in the last digits.
    assert [one.cost for one in done] == pytest.approx([4_000.0, 4_000.0], rel=1e-13)


def test_static_optimal_is_the_allocation_on_its_curve() -> None:
    prior = Prior.from_market(preset("thin_stock", HALF_HOURS), "buy", np.random.default_rng(0))
    done = run(StaticOptimal(prior.curve, prior.source), _day(8), 5_000, "buy", max_shares=600)
    expected = allocate(prior.curve, 5_000, max_shares=600).shares
    assert done.shares == pytest.approx(expected, abs=1e-6)


def test_a_latency_costs_the_strategy_that_looks_at_the_book() -> None:
    """Decided on one draw of the day and traded on another, the adaptive strategy loses what it
    saves on sight.
    """
    profile = of_market(preset("thin_stock", HALF_HOURS), "itself")
    strategy = Adaptive(TiltedShape(profile), "itself")
    now = sum(run(strategy, _day(seed), 9_000, "buy").cost for seed in range(5))
    late = sum(
        run(strategy, _day(seed), 9_000, "buy", shown=_day(seed + 50)).cost for seed in range(5)
    )
    assert late > 1.1 * now


def test_what_cannot_be_run_is_refused() -> None:
    with pytest.raises(ValidationError, match="12 books are shown and 39 traded on"):
        run(Twap(), _day(0), 100, "buy", shown=_day(0).take(np.arange(12)))
    with pytest.raises(ValidationError, match="risk_aversion without volatility"):
        Adaptive(TiltedShape(flat(39)), "nothing", risk_aversion=1.0)
    with pytest.raises(
        ValidationError, match="has 20 intervals, the day has 39; measure it in the same session"
    ):
        run(Adaptive(TiltedShape(flat(20)), ""), _day(0), 100, "buy")


def test_twap_run_is_twap_replayed() -> None:
    books = _day(9)
    assert run(Twap(), books, 9_000, "sell").cost == replay(twap(9_000, 39), books, "sell").cost


class _Answers(Strategy):
    """Gives one answer whatever it sees."""

    name, fitted_on = "answers", "nothing"

    def __init__(self, answer: object) -> None:
        self.answer = answer

    def decide(self, t: int, remaining: float, seen: Ladder, order: Order) -> float:
        return self.answer  # type: ignore[return-value]


class _Long(Scheduled):
    """Ten shares in each of 39 intervals, whatever the order's are."""

    name, fitted_on = "long", "nothing"

    def schedule(self, order: Order) -> Schedule:
        return Schedule(np.full(39, 10.0), self.name)


@pytest.mark.parametrize("length", [20, 78])
def test_plans_of_another_length_than_the_day_are_refused(length: int) -> None:
    volume, curve = np.ones(length), LinearImpact(np.full(length, 1e-5), 0.0)
    for one in (Vwap(volume, "x"), Pov(volume, "x"), StaticOptimal(curve, "x")):
        with pytest.raises(ValidationError, match=f"of {one.name} has {length} intervals for 39"):
            run(one, _day(0), 390, "buy")


def test_a_schedule_of_another_length_than_the_order_is_refused() -> None:
    assert run(_Long(), _day(0), 390, "buy").filled.sum() == pytest.approx(390)
    with pytest.raises(ValidationError, match="schedule of long has 39 intervals for 20"):
        run(_Long(), _day(0).take(np.arange(20)), 390, "buy")


def test_adaptive_sends_nothing_to_a_book_without_two_sides(
    strategies: dict[str, Strategy],
) -> None:
    """Seen without a bid and traded a second later with one: by the interface and by the compiled
    loop.
    """
    later, blind = _day(1), [0, 4, 5, 20]
    bid_size = later.bid_size.copy()
    bid_size[blind] = 0.0
    ladder, seen = (
        Ladder.of(later, "buy"),
        Ladder.of(dataclasses.replace(later, bid_size=bid_size), "buy"),
    )
    assert np.flatnonzero(~np.isfinite(seen.mid)).tolist() == blind
    for name in ("adaptive", "risk-averse adaptive", "rolling"):
        filled, stepped = (
            run(one, ladder, 9_000.0, "buy", shown=seen, max_shares=2_000.0).filled
            for one in (strategies[name], _StepByStep(strategies[name]))
        )
        assert (filled[blind] == 0).all()
        assert filled.sum() == pytest.approx(9_000)
        assert filled == pytest.approx(stepped, abs=1e-6)


def test_a_strategy_can_neither_look_ahead_nor_write_to_the_books() -> None:
    class Curious(_Answers):
        def decide(self, t: int, remaining: float, seen: Ladder, order: Order) -> float:
            for name in ("time", "mid", "half_spread", "premium", "size"):
                assert len(seen[name]) == t + 1
                assert seen[name].base is None
                assert not seen[name].flags.writeable
            return 10.0

    assert run(Curious(0), _day(0), 1_000, "buy").filled[:38] == pytest.approx(10.0)


@pytest.mark.parametrize("answer", [np.nan, np.inf, None, "ten", [1.0, 2.0]])
def test_decisions_that_are_no_number_are_refused(answer: object) -> None:
    with pytest.raises(
        ValidationError, match="shares that answers decides on in interval 0 must be a number"
    ):
        run(_Answers(answer), _day(0), 100, "buy")


def test_decisions_below_zero_and_above_what_remains_are_clipped() -> None:
    assert run(_Answers(-5.0), _day(0), 10, "buy").filled[:38].sum() == 0
    assert run(_Answers(1e9), _day(0), 10, "buy").filled[0] == 10
