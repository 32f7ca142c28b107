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
from scipy import optimize

from research_lib.errors import ValidationError
from research_lib.evaluation import (
    Adaptive,
    AlmgrenChriss,
    BestBenchmark,
    CarriedImpact,
    Ladder,
    LiquidityProfile,
    Order,
    Prior,
    Scheduled,
    StaticOptimal,
    Strategy,
    Twap,
    TwapAfter,
    Vwap,
    WeightedShapes,
    mid_volatility,
    replay,
    run,
    standard_strategies,
)
from research_lib.execution import Schedule, allocate, twap
from research_lib.impact import DecayKernel, ExponentialKernel, ExponentialSumKernel, LinearImpact
from research_lib.market import BookSnapshots, OrderFlow, Session, SyntheticMarket, preset

HALF_HOURS = Session(39)
NAMES = [
    "TWAP", "TWAP after the open", "VWAP", "mine", "Almgren-Chriss", "best benchmark",
    "static optimal", "adaptive", "rolling",
]  # fmt: skip


def _day(seed: int, n_levels: int = 6) -> BookSnapshots:
    return preset("thin_stock", HALF_HOURS).books(39, n_levels, np.random.default_rng(seed))


@pytest.fixture(scope="module")
def strategies() -> dict[str, Strategy]:
    market = preset("wide_spread_stock", HALF_HOURS)
    earlier = market.books(390, 10, np.random.default_rng(0), flow=OrderFlow())
    prior = Prior.from_books(earlier, "buy", HALF_HOURS, "10 days")
    shapes = WeightedShapes([prior.profile])
    mine = [
        Vwap(prior.volume, prior.source, "mine"),
        Adaptive(shapes, prior.source, "rolling", np.ones(5)),
    ]
    return {one.name: one for one in [*standard_strategies(prior), *mine]}


class _StepByStep(Strategy):
    """Decides as another does, and is filled by the interface that everybody may implement, not
    by compiled loops.
    """

    def __init__(self, other: Strategy) -> None:
        self.other, self.name, self.fitted_on = other, other.name, other.fitted_on

    def decide(self, t: int, remaining: float, seen: Ladder, order: Order) -> float:
        return self.other.decide(t, remaining, seen, order)


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(("refill", "cap"), [(1.0, None), (0.3, 700.0), (0.3, 400.0)])
def test_the_compiled_loop_decides_as_the_interface(
    strategies: dict[str, Strategy], name: str, refill: float, cap: float | None
) -> None:
    ladder = Ladder.of(_day(1), "buy")
    seen = Ladder.of(_day(2), "buy")
    for shown in (ladder, seen):
        if shown is seen and isinstance(strategies[name], Adaptive):
            continue  # the compiled loop limits what it sends, the interface does not
        strategy = strategies[name]
        if refill < 1 and isinstance(strategy, Adaptive):  # it judges shapes by books as recorded
            strategy = dataclasses.replace(strategy, shapes=WeightedShapes([flat(39)]))
        how = {"shown": shown, "refill": refill, "max_shares": cap}
        fast, slow = (
            run(one, ladder, 9_000.0, "buy", **how) for one in (strategy, _StepByStep(strategy))
        )
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


@pytest.mark.parametrize("name", [name for name in NAMES if name != "adaptive"])
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


@pytest.mark.slow
@pytest.mark.parametrize("side", ["buy", "sell"])
@pytest.mark.parametrize(
    ("name", "other", "preset_name"),
    [("FROG", "GOOG", "wide_spread_stock"), ("GOOG", "FROG", "thin_stock")],
)
@pytest.mark.parametrize("shape", ["other stock", "preset of the other", "generic market"])
def test_adaptive_cuts_spread_and_walk_by_a_third_on_real_days(
    real_ladders: dict[tuple[str, str], Ladder],
    name: str,
    other: str,
    preset_name: str,
    side: str,
    shape: str,
) -> None:
    """Whichever shape it is given: by 38 to 47 %. What the price does next is left out of it."""
    profile = {
        "other stock": lambda: LiquidityProfile.from_ladders([real_ladders[other, side]], other),
        "preset of the other": lambda: of_market(preset(preset_name), preset_name),
        "generic market": lambda: of_market(SyntheticMarket(), "defaults"),
    }[shape]()
    ladder = real_ladders[name, side]
    adaptive = Adaptive(WeightedShapes([profile]), shape, tick=0.01)
    even, done = (run(one, ladder, 20_000, side) for one in (Twap(), adaptive))
    assert done.unfilled == even.unfilled == pytest.approx(0.0, abs=1e-6)
    assert 1 - done.cost / even.cost >= 1 / 3


@pytest.mark.slow
def test_risk_aversion_buys_less_timing_risk_at_a_higher_cost(
    real_ladders: dict[tuple[str, str], Ladder],
) -> None:
    ladder = real_ladders["FROG", "buy"]
    shapes = WeightedShapes([LiquidityProfile.from_ladders([real_ladders["GOOG", "buy"]], "GOOG")])
    known = {"band": 1.0, "volatility": mid_volatility([ladder])}
    done = [
        run(Adaptive(shapes, "GOOG", risk_aversion=a, **known), ladder, 20_000, "buy")
        for a in (0.0, 1e-5, 1e-4, 1e-3)
    ]
    assert np.all(np.diff([one.timing_risk_bps for one in done]) < 0)
    assert np.all(np.diff([one.cost for one in done]) > 0)


def test_static_optimal_is_the_allocation_on_its_curve() -> None:
    books = preset("thin_stock", HALF_HOURS).books(390, 10, np.random.default_rng(0))
    prior = Prior.from_books(books, "buy", HALF_HOURS, "10 days")
    done = run(StaticOptimal(prior.curve, prior.source), _day(8), 5_000, "buy", max_shares=600)
    expected = allocate(prior.curve, 5_000, max_shares=600).shares
    assert done.shares == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("risk", [0.0, 3e-7])
@pytest.mark.parametrize("cap", [np.inf, 1_600.0])
@pytest.mark.parametrize(
    "kernel", [None, ExponentialSumKernel((0.0, 1e-3), (1e-5, 3e-5)), ExponentialKernel(1e-3, 9e-5)]
)
def test_the_static_optimum_minimises_the_whole_objective(
    risk: float, cap: float, kernel: DecayKernel | None
) -> None:
    """The sum of its docstring, by SLSQP: the same least value to 1e-7, and no schedule below it."""
    n, total, sigma = 8, 5_000.0, 0.4
    seconds = 600.0 * np.arange(n)
    beta = 1e-5 * np.linspace(3, 1, n)  # below and above half of G(0)
    half_spread = np.linspace(0.03, 0.02, n)
    carried = CarriedImpact() if kernel is None else CarriedImpact("measured", kernel)
    strategy = StaticOptimal(
        LinearImpact(beta, half_spread), "x", carried=carried, seconds=seconds,
        risk_aversion=risk, volatility=sigma,
    )  # fmt: skip
    own = beta if kernel is None else np.maximum(beta, 0.5 * float(kernel(0.0)))
    lags = np.subtract.outer(seconds, seconds)
    left = np.zeros((n, n)) if kernel is None else np.tril(kernel(np.abs(lags)), -1)

    def objective(share: np.ndarray) -> float:
        x = total * share
        held = total - np.cumsum(x)
        cost = half_spread @ x + own @ x**2 + x @ left @ x
        return float(cost + risk * sigma**2 * held @ held) / 100.0

    found = strategy.schedule(Order(total, np.full(n, cap))).shares
    assert found.sum() == pytest.approx(total, rel=1e-9)
    assert found.max() <= cap * (1 + 1e-9)
    best = optimize.minimize(
        objective, np.full(n, 1 / n), method="SLSQP", bounds=[(0, min(1, cap / total))] * n,
        constraints={"type": "eq", "fun": lambda share: share.sum() - 1},
        options={"ftol": 1e-13, "maxiter": 500},
    )  # fmt: skip
    assert best.success
    assert objective(found / total) == pytest.approx(best.fun, rel=1e-7)
    assert found / total == pytest.approx(best.x, abs=2e-3)


# Benchmarks that are chosen


def _brute_force(shares: np.ndarray, days: list[Ladder], kernel: DecayKernel | None) -> float:
    """Mean cost in bps of what is scheduled, walked by hand, the rest beyond the last book."""
    costs = []
    for day in days:
        filled, walked, carry = np.zeros(len(day)), np.zeros(len(day)), 0.0
        for t, due in enumerate(shares):
            left = due + carry
            for premium, size in zip(day.premium[t], day.size[t], strict=True):
                taken = min(left, size)
                walked[t] += taken * premium
                filled[t] += taken
                left -= taken
            carry = left
        last, slope = day.rest_price
        walked[-1] += carry * (last + 0.5 * slope * carry)
        filled[-1] += carry
        total = walked.sum()
        if kernel is not None:
            seconds = (day.time - day.time[0]) / 1e9
            for t in range(len(day)):
                total += sum(
                    filled[s] * filled[t] * float(kernel(seconds[t] - seconds[s])) for s in range(t)
                )
                own = 0.5 * float(kernel(0.0)) * filled[t] ** 2
                total += max(own - (walked[t] - filled[t] * day.half_spread[t]), 0.0)
        costs.append(1e4 * total / (shares.sum() * day.mid[0]))
    return float(np.mean(costs))


def _first_of_least(costs: list[float]) -> int:
    """Of 60,000 shares every schedule takes all books whole: equal but for rounding."""
    return int(np.argmax(np.array(costs) <= min(costs) * (1 + 1e-9)))


@pytest.mark.parametrize("kernel", [None, ExponentialSumKernel((0.0, 1e-3), (2e-6, 2e-5))])
@pytest.mark.parametrize("total", [1_500.0, 6_000.0, 60_000.0])
def test_the_start_and_the_benchmark_are_the_cheapest_of_their_days(
    total: float, kernel: DecayKernel | None
) -> None:
    days = Ladder.of(_day(0), "buy").take(slice(13)), Ladder.of(_day(1), "buy").take(slice(13))
    order, starts = Order(total, np.full(13, np.inf)), [0, 1, 2, 4, 9]
    carried = CarriedImpact() if kernel is None else CarriedImpact("measured", kernel)
    late = TwapAfter(starts, days, carried)
    plans = [np.where(np.arange(13) >= start, total / (13 - start), 0.0) for start in starts]
    costs = [_brute_force(plan, list(days), kernel) for plan in plans]
    cheapest = plans[_first_of_least(costs)]
    assert late.schedule(order).shares == pytest.approx(cheapest, rel=1e-12)
    others = [Twap(), Vwap(np.geomspace(1, 5, 13), "x"), AlmgrenChriss(1.0, 1e-3, 1e-4, "x"), late]
    known = [_brute_force(one.schedule(order).shares, list(days), kernel) for one in others]
    best = BestBenchmark(others, days, carried)
    chosen = others[_first_of_least(known)].schedule(order).shares
    assert best.schedule(order).shares == pytest.approx(chosen, rel=1e-12)
    assert best.schedule(order).name == "best benchmark"


def test_of_equal_benchmarks_the_first_is_taken() -> None:
    """The same book all day: within the touch every schedule costs the half-spread."""
    n, order = 10, Order(1_000.0, np.full(10, np.inf))
    price, size = np.full((n, 1), 99.0), np.full((n, 1), 1_000.0)
    same = Ladder.of(BookSnapshots(np.arange(n), price, size, price + 2, size), "buy")
    for starts in ([0, 3, 6], [6, 3, 0]):
        plan = TwapAfter(starts, [same]).schedule(order).shares
        assert np.count_nonzero(plan) == n - starts[0]
    others = [Vwap(np.arange(1.0, n + 1), "x"), Twap()]
    for one, ranked in ((others[0], others), (others[1], others[::-1])):
        found = BestBenchmark(ranked, [same]).schedule(order).shares
        assert found == pytest.approx(one.schedule(order).shares)


def test_without_earlier_days_the_first_one_stands() -> None:
    order = Order(60.0, np.full(4, np.inf))
    assert np.count_nonzero(TwapAfter([2, 0]).schedule(order).shares) == 2
    assert np.count_nonzero(TwapAfter([9]).schedule(order).shares) == 1  # the last at least
    assert BestBenchmark([TwapAfter([2]), Twap()], []).schedule(order).shares[0] == 0.0


@pytest.mark.parametrize("length", [5, 26])
def test_earlier_days_of_another_length_than_the_order_are_refused(length: int) -> None:
    day = Ladder.of(_day(0), "buy").take(slice(length))
    for one in (TwapAfter([0, 2], [day]), BestBenchmark([Twap(), TwapAfter([2])], [day])):
        with pytest.raises(ValidationError, match=f"an earlier day has {length} intervals for 13"):
            one.schedule(Order(100.0, np.full(13, np.inf)))


def test_a_kernel_of_seconds_without_seconds_is_refused() -> None:
    """Lags of 0, 1, 2 would be taken for seconds."""
    carried = CarriedImpact("measured", ExponentialKernel(1e-3, 1e-5))
    strategy = StaticOptimal(LinearImpact(np.full(3, 1e-5), 0.01), "x", carried=carried)
    with pytest.raises(ValidationError, match="seconds must be given with a kernel"):
        strategy.schedule(Order(60.0, np.full(3, np.inf)))


def test_a_latency_costs_the_strategy_that_looks_at_the_book() -> None:
    """Decided on one draw of the day and traded on another, the adaptive strategy loses what it
    saves on sight.
    """
    profile = of_market(preset("thin_stock", HALF_HOURS), "itself")
    strategy = Adaptive(WeightedShapes([profile]), "itself")
    now = sum(run(strategy, _day(seed), 9_000, "buy").cost for seed in range(5))
    late = sum(
        run(strategy, _day(seed), 9_000, "buy", shown=_day(seed + 50)).cost for seed in range(5)
    )
    assert late > 1.1 * now


def test_what_cannot_be_run_is_refused() -> None:
    with pytest.raises(ValidationError, match="12 books are shown and 39 traded on"):
        run(Twap(), _day(0), 100, "buy", shown=_day(0).take(np.arange(12)))
    with pytest.raises(ValidationError, match="risk_aversion without volatility"):
        Adaptive(WeightedShapes([flat(39)]), "nothing", risk_aversion=1.0)
    with pytest.raises(
        ValidationError, match="has 20 intervals, the day has 39; measure it in the same session"
    ):
        run(Adaptive(WeightedShapes([flat(20)]), ""), _day(0), 100, "buy")


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
    for one in (Vwap(volume, "x"), StaticOptimal(curve, "x")):
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
    for name in ("adaptive", "rolling"):
        filled, stepped = (
            run(one, ladder, 9_000.0, "buy", shown=seen, max_shares=2_000.0).filled
            for one in (strategies[name], _StepByStep(strategies[name]))
        )
        assert (filled[blind] == 0).all()
        assert filled.sum() == pytest.approx(9_000)
        assert filled == pytest.approx(stepped, abs=1e-6)


@pytest.mark.parametrize("name", NAMES)
def test_a_day_of_child_orders_is_the_day_that_is_filled(
    strategies: dict[str, Strategy], name: str
) -> None:
    """Bit for bit, in books that have moved since the decision, and with its limit: what a live desk does."""
    ladder, seen = (Ladder.of(_day(seed), "buy") for seed in (1, 2))
    one, order = strategies[name], Order(9_000.0, np.full(39, 700.0))
    filled, cost = np.zeros(39), np.zeros(39)
    for t in range(39):
        child = one.child(t, filled[:t], seen, order)
        filled[t], cost[t] = one.meet(child, seen.take([t]), ladder.take([t]))
    done = run(one, ladder, 9_000.0, "buy", max_shares=700.0, shown=seen)
    assert np.array_equal(filled, done.filled)
    assert np.array_equal(cost, done.cost_by_interval)


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
