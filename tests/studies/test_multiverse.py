"""The multiverse: its rows are the fits that one would run by hand.

Tolerances: 1e-6 of an exponent is where two searches for it stop, that of the table and that by
hand.
"""

from __future__ import annotations

import dataclasses
import sys

import numpy as np
import pandas as pd
import pytest

from research_lib.errors import ValidationError
from research_lib.evaluation import replay
from research_lib.execution import Schedule, allocate, twap
from research_lib.impact import PowerImpact, fit_impact, slippage_curves
from research_lib.market import BookSnapshots, Session, SyntheticMarket, read_mbp10, thin_stock
from research_lib.studies import CHOICES, multiverse

pytestmark = pytest.mark.slow  # one table of 32 fits serves most of this module
SESSION = Session(13)
SIZES = [50.0, 100.0, 200.0, 400.0, 800.0]
ORDER = 1_000.0
QUOTED = ("bid_size", "ask_size")


@pytest.fixture(scope="module")
def states() -> BookSnapshots:
    """Four days of 52 states, irregular in time: some are missing."""
    books = thin_stock(Session(52)).books(4 * 52, 12, np.random.default_rng(5))
    kept = np.setdiff1d(
        np.arange(len(books)), np.random.default_rng(6).choice(np.arange(1, 208), 60, replace=False)
    )
    return books.take(kept)


@pytest.fixture(scope="module")
def table(states: BookSnapshots) -> pd.DataFrame:
    return multiverse(states, total_shares=ORDER, trade_sizes=SIZES, session=SESSION)


def row_of(table: pd.DataFrame, *choices: str) -> pd.Series:
    found = table[
        np.logical_and.reduce([table[c] == v for c, v in zip(CHOICES, choices, strict=True)])
    ]
    assert len(found) == 1
    return found.iloc[0]


def fitted_days(states: BookSnapshots) -> BookSnapshots:
    return states.take(SESSION.days(states.time) < SESSION.days(states.time[-1:])[0])


def starts(states: BookSnapshots) -> BookSnapshots:
    return states.sample(SESSION)


def frame_of(books: BookSnapshots, side: str) -> pd.DataFrame:
    return slippage_curves(books, SIZES, side).to_frame(13, SESSION)


def hand_run(frame: pd.DataFrame, estimator: str) -> tuple[float, float]:
    fit = fit_impact(
        frame,
        "power",
        by="pooled",
        estimator=estimator,
        test_fraction=0,
        n_intervals=13,
        session=SESSION,
    )
    return float(fit.params["exponent"].iloc[0]), float(fit.bse["exponent"].iloc[0])


def test_there_is_one_row_for_every_combination_of_choices(table: pd.DataFrame) -> None:
    assert len(table) == 2 * 2 * 2 * 2 * 2
    assert not table.duplicated(CHOICES).any()
    assert table["combinations"].eq(1).all()


def test_every_state_is_fitted_not_one_an_interval(
    states: BookSnapshots, table: pd.DataFrame
) -> None:
    books = table.groupby("sampling")["n_books"].unique()
    assert books["interval start"].tolist() == [np.isfinite(fitted_days(starts(states)).mid).sum()]
    assert books["every state"].tolist() == [len(fitted_days(states))]


def test_combinations_that_are_one_analysis_are_counted_once(
    states: BookSnapshots, table: pd.DataFrame
) -> None:
    """Of one book an interval both samplings are the same: half of the analyses are none."""
    found = multiverse(starts(states), total_shares=ORDER, trade_sizes=SIZES, session=SESSION)
    assert len(found) == 2 * 2 * 2 * 2
    assert found["combinations"].eq(2).all()
    own = table[table["sampling"] == "interval start"].reset_index(drop=True)
    pd.testing.assert_frame_equal(found, own.assign(combinations=2))


def test_books_without_impact_beyond_the_touch_are_one_analysis(states: BookSnapshots) -> None:
    """A best level that fills every size: no choice changes a number."""
    deep = {name: np.where(np.arange(12) > 0, 0.0, 1e6) + 0.0 * states[name] for name in QUOTED}
    flat = dataclasses.replace(states, **deep, bid_price=99.0 + 0.0 * states.bid_price,
        ask_price=101.0 + 0.0 * states.ask_price)  # fmt: skip
    found = multiverse(flat, total_shares=ORDER, trade_sizes=SIZES, session=SESSION)
    assert found["combinations"].tolist() == [32]
    assert np.isnan(found["exponent"][0])
    assert found["saving_in_%"][0] == pytest.approx(0.0, abs=1e-9)


def test_crossed_states_are_no_books_to_fit(states: BookSnapshots, table: pd.DataFrame) -> None:
    crossed = states.bid_price.copy()
    crossed[1] += 10.0  # no book of an interval's start
    found = multiverse(
        dataclasses.replace(states, bid_price=crossed), total_shares=ORDER, trade_sizes=SIZES,
        sides=["buy"], session=SESSION,
    )  # fmt: skip
    assert found["n_books"].max() == table["n_books"].max() - 1


def test_of_many_states_every_kth_is_fitted(
    states: BookSnapshots, table: pd.DataFrame, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = sys.modules[multiverse.__module__]
    monkeypatch.setattr(module, "MAX_STATES", len(fitted_days(states)) // 2 + 1)
    order = {"total_shares": ORDER, "trade_sizes": SIZES, "sides": ["buy"], "session": SESSION}
    found = multiverse(states, **order)
    assert found["n_books"].max() == -(-len(fitted_days(states)) // 2)


@pytest.mark.parametrize("side", ["buy", "sell"])
@pytest.mark.parametrize(
    ("weight", "estimator"), [("equal", "least_squares"), ("1/size^2", "weighted")]
)
@pytest.mark.parametrize("reference", ["touch", "mid"])
def test_exponents_and_errors_are_those_of_fits_run_by_hand(
    states: BookSnapshots,
    table: pd.DataFrame,
    side: str,
    weight: str,
    estimator: str,
    reference: str,
) -> None:
    start, events = (frame_of(fitted_days(b), side) for b in (states.sample(SESSION), states))
    for sampling, frame in (("interval start", start), ("every state", events)):
        seen = frame.assign(half_spread=0.0) if reference == "mid" else frame
        row = row_of(table, reference, "shares", sampling, weight, side)
        exponent, error = hand_run(seen, estimator)
        if np.isfinite(row["exponent"]):
            assert (row["exponent"], row["error"]) == pytest.approx((exponent, error), rel=1e-6)
        else:
            assert exponent == 1.0  # no power law fits: linear


def test_sizes_as_a_fraction_of_depth_are_sizes_over_depth(
    states: BookSnapshots, table: pd.DataFrame
) -> None:
    """Sizes divided by the depth and walked by fractions: the book walked by fractions of its
    depth.
    """
    seen = fitted_days(states.sample(SESSION))
    seen = seen.take(np.isfinite(seen.mid))
    depth = seen.ask_size.sum(axis=1)
    frames = []
    for k, one in enumerate(depth):
        own = slippage_curves(seen.take([k]), np.array(SIZES) * one / depth.mean(), "buy").to_frame(
            13, SESSION
        )
        frames.append(own.assign(trade_size=SIZES))
    row = row_of(table, "touch", "visible depth", "interval start", "equal", "buy")
    assert (row["exponent"], row["error"]) == pytest.approx(
        hand_run(pd.concat(frames), "least_squares"), rel=1e-6
    )


def test_the_saving_is_that_of_the_schedule_replayed(
    states: BookSnapshots, table: pd.DataFrame
) -> None:
    row = row_of(table, "touch", "shares", "interval start", "equal", "sell")
    starts, p = states.sample(SESSION), float(row["exponent"])
    frame = frame_of(fitted_days(starts), "sell")
    straight = fit_impact(
        frame.assign(trade_size=frame["trade_size"] ** p),
        "linear",
        test_fraction=0,
        n_intervals=13,
        session=SESSION,
    ).curve
    shares = allocate(
        PowerImpact(straight.parameters()["beta"], p, straight.half_spread), ORDER
    ).shares
    days = [starts.take(np.arange(13 * k, 13 * (k + 1))) for k in range(4)]
    costs = {
        s.name: [replay(s, d, "sell").cost for d in days]
        for s in (Schedule(shares, "own"), twap(ORDER, 13))
    }
    assert row["saving_in_%"] == pytest.approx(
        100 * (1 - sum(costs["own"][:3]) / sum(costs["TWAP"][:3])), rel=1e-6
    )
    assert row["saving_out_%"] == pytest.approx(
        100 * (1 - costs["own"][3] / costs["TWAP"][3]), rel=1e-6
    )


def test_missing_the_half_spread_fakes_a_lower_exponent(table: pd.DataFrame) -> None:
    equal = table[table["weight"] == "equal"].groupby("reference")["exponent"]
    assert equal.max()["mid"] < equal.min()["touch"] - 0.2


def test_books_that_are_all_alike_save_nothing(states: BookSnapshots) -> None:
    starts = SyntheticMarket(session=SESSION).books(3 * 13, 6, np.random.default_rng(1))
    alike = {
        name: np.repeat(starts[name][:1], 39, axis=0)
        for name in ("bid_price", "bid_size", "ask_price", "ask_size")
    }
    same = dataclasses.replace(starts, **alike)
    found = multiverse(same, total_shares=500.0, trade_sizes=SIZES[:3], session=SESSION)
    assert found["saving_in_%"].abs().max() < 1e-6
    assert found["saving_out_%"].abs().max() < 1e-6


def test_one_day_has_no_saving_out_of_sample_but_errors(states: BookSnapshots) -> None:
    found = multiverse(
        states.take(SESSION.days(states.time) == SESSION.days(states.time[:1])[0]),
        total_shares=ORDER, trade_sizes=SIZES, sides=["buy"], session=SESSION,
    )  # fmt: skip
    assert found["saving_out_%"].isna().all()
    assert found["saving_in_%"].notna().all()
    assert found.loc[found["exponent"].notna(), "error"].gt(0).all()


def test_no_day_left_to_fit_is_refused(states: BookSnapshots) -> None:
    with pytest.raises(ValidationError, match="test_days 4 leaves none of 4 days to fit; lower it"):
        multiverse(states, total_shares=ORDER, trade_sizes=SIZES, test_days=4, session=SESSION)


def test_on_frog_the_mid_reference_fakes_concavity(frog_file: object) -> None:
    """Without the half-spread FROG's book walk has the exponents of 0.09 to 0.25 that studies
    report.
    """
    whole = read_mbp10(frog_file)  # type: ignore[arg-type]
    books = whole.between("2025-04-03 09:31-04:00", "2025-04-03 16:00-04:00")
    sizes = [10, 25, 50, 100, 200, 300, 500]
    order = {"total_shares": 10_000.0, "max_shares": 500.0, "sides": ["buy"]}
    found = multiverse(books, trade_sizes=sizes, **order)
    equal = found[found["weight"] == "equal"].groupby("reference")["exponent"]
    assert equal.min()["mid"] > 0.09
    assert equal.max()["mid"] < 0.25
    assert equal.min()["touch"] > 2 * equal.max()["mid"]
