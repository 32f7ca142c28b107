"""What a schedule saves under decaying impact, and the sentences that say what is identified."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pandas as pd
import pytest

from research_lib.execution import obizhaeva_wang, transient_schedule
from research_lib.impact import DecayKernel, ExponentialKernel, ExponentialSumKernel, PowerKernel
from research_lib.studies.transient import (
    SplitOrder,
    by_lag,
    contradicting_windows,
    cost_ranges,
    decay_sentence,
    decaying_component,
    exponential,
    half_lives,
    late_over_early,
    main_table,
    mid_schedule,
    readable,
    schedule_sentence,
    spread_kernels,
    spread_sentence,
    state_sentence,
)  # fmt: skip
from research_lib.transient import (
    BlockBook,
    KernelFit,
    LagEstimate,
    SignedFlow,
    TransientMarket,
    fit_block_book,
    fit_kernel,
    propagator,
)  # fmt: skip
from research_lib.wording import significant

LAGS = np.arange(1.0, 31.0)
ORDER = SplitOrder(10.0 * np.arange(61.0), 5_000.0, 100.0)  # a mid of 100


def estimate(kernel: DecayKernel, error: float = 2e-4) -> LagEstimate:
    cov = error**2 * (np.minimum.outer(LAGS, LAGS) + np.eye(len(LAGS)))
    return LagEstimate(LAGS, kernel(LAGS), cov, 5000, "seconds")


def fitted(kernel: DecayKernel, family: str = "exponential", error: float = 2e-4) -> KernelFit:
    return fit_kernel(estimate(kernel, error), family)


FAST = fitted(ExponentialKernel(0.2, 0.01))
FLAT = fitted(ExponentialKernel(1e-6, 0.01))
SLOW = fitted(PowerKernel(0.05, 0.01), "power", 1e-4)


@pytest.fixture(scope="module")
def block() -> BlockBook:
    return fit_block_book(TransientMarket().books(8_000, np.random.default_rng(3)))


def test_the_plan_is_the_closed_form_and_its_cost_is_the_solvers() -> None:
    kernel = exponential(30.0, 1e-4)
    plan = ORDER.plan(kernel)
    assert np.allclose(plan, obizhaeva_wang(5_000.0, ORDER.times, kernel.decay), rtol=1e-9)
    solved = transient_schedule(kernel, ORDER.times, 5_000.0, min_shares=0.0)
    assert ORDER.cost(kernel, plan) == pytest.approx(solved.cost / 5_000.0 * 100.0, rel=1e-9)
    assert ORDER.ahead(plan)[-1] == pytest.approx(0.0, abs=1e-9)


@pytest.mark.parametrize("half_life", [0.01, 1e9])
def test_without_memory_and_without_decay_nothing_is_saved(half_life: float) -> None:
    assert ORDER.compared(exponential(half_life, 1e-4))["saving_%"] == pytest.approx(0.0, abs=1e-3)


def test_savings_in_per_cent_do_not_depend_on_the_scale_and_costs_are_in_proportion() -> None:
    one, two = ORDER.by_half_life(1e-4), ORDER.by_half_life(2e-4)
    assert np.allclose(one["saving_%"], two["saving_%"], rtol=1e-9, atol=1e-9)
    assert np.allclose(2.0 * one["twap_bps"], two["twap_bps"], rtol=1e-12)
    assert (one["saving_%"] > 0).all()


def test_each_truth_is_best_served_by_its_own_plan() -> None:
    kernels = {str(life): exponential(life, 1e-4) for life in (5.0, 50.0, 500.0)}
    table = ORDER.regret(kernels)
    assert (np.diag(table) >= table.max(axis=0) - 1e-9).all()
    assert (table.to_numpy() < 0).any()  # a plan for the wrong half-life may lose to TWAP


def test_a_permanent_component_changes_no_schedule() -> None:
    moving, all_of_it = ExponentialKernel(0.2, 3.0), ExponentialSumKernel((0.2, 0.0), (3.0, 1.0))
    assert decaying_component(all_of_it) == moving
    assert decaying_component(PowerKernel(0.5)) == PowerKernel(0.5)
    assert np.allclose(ORDER.plan(all_of_it), ORDER.plan(moving), rtol=1e-6)


def test_the_schedule_of_the_mid_is_the_same_in_any_unit_of_the_lags() -> None:
    scale = {"mean_shares": 50.0}
    row, plan = mid_schedule(ORDER, FAST, seconds=2.0, **scale)
    stretched = dataclasses.replace(ORDER, times=0.5 * ORDER.times)
    same, as_well = mid_schedule(stretched, FAST, seconds=1.0, **scale)
    assert row["half_life_s"] == 2.0 * same["half_life_s"]
    assert row["twap_bps"] == pytest.approx(same["twap_bps"])
    assert np.allclose(plan, as_well)
    assert plan.sum() == pytest.approx(5_000.0)


def test_ranges_span_both_intervals_and_a_half_life_not_identified_gives_the_largest_saving(
    block: BlockBook,
) -> None:
    kernels, ranges = spread_kernels(block), cost_ranges(ORDER, block)
    most = ORDER.cost(kernels["high end"], ORDER.twap) * block.scale[2] / block.scale[0]
    assert ranges.loc["TWAP pays", "high"] == pytest.approx(most)
    unknown = dataclasses.replace(block, spread=dataclasses.replace(block.spread, identified=False))
    assert spread_kernels(unknown) == {}
    table = ORDER.by_half_life(block.scale[0])
    largest = (table["twap_bps"] - table["optimal_bps"]).max()
    assert cost_ranges(ORDER, unknown).loc["the plan saves", "estimate"] == pytest.approx(largest)


def test_the_scale_is_all_of_the_immediate_impact_where_the_permanent_one_is_not_known(
    block: BlockBook,
) -> None:
    rejected = dataclasses.replace(block, price=dataclasses.replace(block.price, p_value=1e-9))
    contradicted = dataclasses.replace(block, permanent=(1.0, 0.9, 1.1))
    doubtful = dataclasses.replace(block, permanent=(1e-4, 0.0, 1.0))
    states = [one.state for one in (block, rejected, contradicted, doubtful)]
    assert states == ["described", "rejected", "contradicted", "open"]
    assert [one.bounded for one in (block, rejected, contradicted, doubtful)] == [
        False, True, True, False,
    ]  # fmt: skip
    assert block.scale == block.decaying
    q, low, high = block.block_depth
    assert rejected.scale == contradicted.scale == (1 / q, 1 / high, 1 / low)
    assert doubtful.scale[1] == 0.0  # at least nothing decays
    assert "upper bound" in state_sentence(rejected)
    assert "upper bound" not in state_sentence(block)


def windows(**lives: float) -> pd.DataFrame:
    """Windows of these seconds: a half-life with an interval of a half to twice, or NaN."""
    rows = {
        name[1:]: {"half_life": life, "low": life / 2, "high": 2 * life, "identified": life > 0}
        for name, life in lives.items()
    }
    return pd.DataFrame.from_dict(rows, orient="index")


@pytest.mark.parametrize(
    ("found", "against"),
    [
        (windows(_30=8.0, _60=8.0, _120=9.0), []),
        (windows(_30=8.0, _60=8.0, _120=30.0), ["120"]),  # outside its interval
        (windows(_30=8.0, _60=8.0, _120=math.nan), ["120"]),  # longer, and none identified
        (windows(_30=math.nan, _60=8.0, _120=9.0), []),  # too short to identify any
        (windows(_30=8.0, _60=math.nan, _120=math.nan), ["30"]),
    ],
)
def test_windows_that_contradict_the_one_used(found: pd.DataFrame, against: list[str]) -> None:
    assert contradicting_windows(found, "60").index.tolist() == against


def test_half_lives_are_in_seconds_and_shown_only_where_identified() -> None:
    table = half_lives(estimate(ExponentialKernel(0.2, 0.01), 2e-5), "trades", 2.0)
    assert table.index.tolist() == [
        "exponential, by trades", "exponential + permanent, by trades", "power, by trades",
    ]  # fmt: skip
    shown = readable(table)
    first, last = shown.iloc[0], shown.iloc[2]
    assert first["half-life (s)"] == pytest.approx(2.0 * math.log(2.0) / 0.2, rel=1e-3)
    assert first["identified"] == "yes"
    assert (last["95 % interval (s)"], last["decays"], last["identified"]) == (
        "shape rejected", "", "no",
    )  # fmt: skip


def test_shown_lags_grow_geometrically() -> None:
    table = by_lag({"G": estimate(ExponentialKernel(0.2, 0.01))})
    assert table.index.tolist() == [1.0, 2.0, 3.0, 5.0, 10.0, 17.0, 30.0]


def test_the_sentence_on_the_decay_says_what_is_identified_and_on_which_evidence() -> None:
    both = {"by the clock": FAST, "in trades": FLAT}
    said = decay_sentence("GOOG", both, ", true value 3.47")
    assert said.startswith("On GOOG, a market order's impact has a half-life of 3.4")
    assert said.endswith(", true value 3.47).")
    assert decay_sentence("GOOG", {"by the clock": FLAT, "in trades": FLAT}) == (
        "On GOOG, the half-life of a market order's impact is not identified: every half-life "
        f"above {significant(FLAT.interval[0])} seconds agrees with the data, and so does a constant effect."
    )
    said = decay_sentence("GOOG", {"by the clock": FLAT, "in trades": SLOW})
    assert "not identified: the effect decays, but every half-life above" in said
    assert said.endswith("; by the clock, a constant impact agrees with the data too.")
    stays = fitted(ExponentialSumKernel((0.2, 0.0), (0.01, 0.004)), "exponential_permanent")
    assert "the decaying part of" in decay_sentence("GOOG", {"by the clock": stays})


def test_the_sentence_on_the_spread_names_the_windows_that_contradict() -> None:
    agreed = spread_sentence(FAST, windows(_30=3.4, _60=3.4), "60")
    assert agreed.endswith("; windows of 30 to 60 s agree.")
    said = spread_sentence(FAST, windows(_30=3.4, _60=3.4, _120=30.0), "60")
    assert said.startswith("How fast the spread returns depends on the window")
    assert said.endswith(" over 60 s, but 30.0 seconds over 120 s.")
    lost = spread_sentence(FAST, windows(_60=3.4, _120=math.nan), "60")
    assert lost.endswith("but not identified over 120 s.")
    unknown = spread_sentence(FLAT, windows(_30=3.4, _60=math.nan), "60")
    assert unknown.startswith("The half-life of the spread after a trade is not identified")
    assert unknown.endswith(", although it is 3.40 seconds over 30 s.")


@pytest.mark.parametrize(
    ("low", "identified", "starts"),
    [
        (0.5, True, "For 100 shares, the optimal schedule under the block-shaped order book saves"),
        (-0.5, True, "No schedule other than TWAP is warranted"),
        (0.5, False, "No schedule other than TWAP is warranted: for 100 shares the optimal one "
        "saves at most 1.00 bps of the arrival mid (0.500 to 2.00)"),
    ],
)  # fmt: skip
def test_a_schedule_is_warranted_only_by_a_saving_above_0(
    low: float, identified: bool, starts: str
) -> None:
    rows = [[3.0, 2.0, 4.0], [1.0, low, 2.0]]
    names = ["TWAP pays", "the plan saves"]
    ranges = pd.DataFrame(rows, index=names, columns=["estimate", "low", "high"])
    assert schedule_sentence("100 shares", ranges, identified).startswith(starts)


def test_the_main_table_says_at_most_where_the_spread_is_not_identified() -> None:
    ranges = pd.DataFrame({"estimate": [3.0, 1.0], "low": [2.0, 0.5], "high": [4.0, 2.0]})
    table = main_table({"impact": (FAST, 1.0), "spread": (FLAT, 1.0)}, ranges)
    assert table.index[-1] == "saving of the optimal schedule, at most (bps)"
    assert table["identified"].tolist() == ["yes", "no", "no", "no"]
    assert math.isnan(table.loc["half-life of the spread (s)", "estimate"])
    assert main_table({"spread": (FAST, 1.0)}, ranges, [3.0, 3.0, 1.0])["truth"].sum() == 7.0


def test_late_over_early_is_that_of_a_known_kernel() -> None:
    """Impact falls by half after four steps: after 20 steps over after 2 it is 0.5."""
    rng, n, kernel = np.random.default_rng(2), 1_500, np.array([1.0] * 4 + [0.5] * 40)
    parts = []
    for _ in range(24):
        shares = rng.choice([-1.0, 1.0], n)
        noise = np.cumsum(rng.normal(0.0, 0.3, n))
        parts.append(100.0 + np.append(0.0, np.convolve(shares, kernel)[: n - 1]) + noise)
        # After the kernel's end the impact of a trade would vanish; it is kept at its last value.
        parts[-1] += 0.5 * np.append(np.zeros(45), np.cumsum(shares)[: n - 45])
        parts.append(shares)
    mid, shares = np.concatenate(parts[0::2]), np.concatenate(parts[1::2])
    day = np.repeat(np.arange(24), n)
    flow = SignedFlow(np.arange(24 * n) * 10**9, mid, shares, shares, None, day, 1.0, "seconds")
    estimate = propagator(flow, 20)
    late, early, ratio, error = late_over_early(estimate)
    assert (late, early, estimate.clusters) == (19.5, 1.5, 24)
    assert abs(ratio - 0.5) < 3 * error < 0.3
