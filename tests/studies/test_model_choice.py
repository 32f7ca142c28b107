"""Choosing a form by its schedule: losses equal a loop written out, and the set keeps the truth.

Tolerances: 1e-9 of a cost is rounding, of a schedule that is found exactly.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pandas as pd
import pytest
from arch.bootstrap import MCS

from research_lib.errors import InsufficientDataError, ValidationError
from research_lib.evaluation import replay
from research_lib.execution import Schedule, allocate, twap
from research_lib.impact import fit_impact, slippage_curves
from research_lib.market import BookSnapshots, Session, thin_stock
from research_lib.studies import compare_forms, rank_forms

SESSION = Session(13)
SIZES = [50.0, 100.0, 200.0, 400.0]
ORDER = 1_000.0


def frame_of(books: BookSnapshots, side: str = "buy") -> pd.DataFrame:
    return slippage_curves(books, SIZES, side).to_frame(13, SESSION)


@pytest.fixture(scope="module")
def nine_days() -> BookSnapshots:
    return thin_stock(SESSION).books(9 * 13, 12, np.random.default_rng(5))


@pytest.mark.parametrize("scheme", ["walk_forward", "leave_one_day_out"])
def test_losses_equal_an_explicit_loop(scheme: str, synthetic_books: BookSnapshots) -> None:
    frame = frame_of(synthetic_books)
    day = frame["time"].dt.date
    found = compare_forms(
        frame, synthetic_books, side="buy", total_shares=ORDER, model_types=["linear", "sqrt"],
        scheme=scheme, session=SESSION,
    )  # fmt: skip
    for k, d in list(enumerate(sorted(day.unique())))[scheme == "walk_forward" :]:
        training = frame[day < d] if scheme == "walk_forward" else frame[day != d]
        books = synthetic_books.take(np.arange(13 * k, 13 * (k + 1)))
        row = found.loc[str(d)]
        assert row["TWAP"] == replay(twap(ORDER, 13), books, "buy").cost_bps
        for form in ("linear", "sqrt"):
            curve = fit_impact(
                training, form, n_intervals=13, test_fraction=0, session=SESSION
            ).curve
            shares = allocate(curve, ORDER).shares
            assert row[form] == pytest.approx(
                replay(Schedule(shares, form), books, "buy").cost_bps, rel=1e-9
            )
    assert len(found) == 4 - (scheme == "walk_forward")
    table = rank_forms(found)
    assert table.loc["sqrt", "saving_bps"] == pytest.approx((found["TWAP"] - found["sqrt"]).mean())
    assert table["p_value"].isna().all()  # too few days


def test_the_sell_side_of_a_frame_of_both_is_used(synthetic_books: BookSnapshots) -> None:
    buys, sells = (frame_of(synthetic_books, side) for side in ("buy", "sell"))
    both = pd.concat([buys, sells], ignore_index=True)
    ours, theirs = (
        compare_forms(
            f,
            synthetic_books,
            side="sell",
            total_shares=ORDER,
            model_types=["linear"],
            session=SESSION,
        )
        for f in (both, sells)
    )
    pd.testing.assert_frame_equal(ours, theirs)


def test_losers_are_out_and_the_table_is_sorted_by_cost(nine_days: BookSnapshots) -> None:
    found = compare_forms(
        frame_of(nine_days), nine_days, side="buy", total_shares=ORDER, model_types=["linear"],
        scheme="leave_one_day_out", session=SESSION,
    )  # fmt: skip
    table = rank_forms(found, n_draws=500, seed=2)
    assert table["cost_bps"].is_monotonic_increasing
    assert table.index[0] == "linear"
    assert table["p_value"].to_dict() == {"linear": 1.0, "TWAP": pytest.approx(0.0, abs=0.1)}


def test_schedules_that_books_fill_less_than_twap_are_left_out(
    synthetic_books: BookSnapshots,
) -> None:
    depth = synthetic_books.ask_size.sum(axis=1).reshape(4, 13).sum(axis=1).min()
    choice: dict[str, Any] = {"side": "buy", "total_shares": 0.97 * depth, "session": SESSION}
    with pytest.raises(
        ValidationError, match="no form's schedule is filled as far as TWAP's on every day"
    ):
        compare_forms(frame_of(synthetic_books), synthetic_books, model_types=["linear"], **choice)
    choice |= {"total_shares": 0.6 * depth, "scheme": "leave_one_day_out"}
    found = compare_forms(
        frame_of(synthetic_books), synthetic_books, model_types=["linear", "nonlinear"], **choice
    )
    assert found.columns[found.notna().all()].tolist() == ["TWAP", "nonlinear"]
    assert rank_forms(found).loc["linear"].isna().all()


@pytest.mark.parametrize("unit", [2.0**-50, 1.0, 2.0**50])
def test_what_is_left_unfilled_is_judged_by_the_order_at_any_unit_of_size(
    synthetic_books: BookSnapshots, unit: float
) -> None:
    """Whole coins or satoshis: the form whose schedule falls short is left out, the others stay."""
    names = ("bid_size", "ask_size")
    scaled = {name: unit * synthetic_books[name] for name in names}
    books = dataclasses.replace(synthetic_books, **scaled)
    depth = books.ask_size.sum(axis=1).reshape(4, 13).sum(axis=1).min()
    frame = slippage_curves(books, unit * np.array(SIZES), "buy").to_frame(13, SESSION)
    found = compare_forms(
        frame, books, side="buy", total_shares=0.6 * depth, scheme="leave_one_day_out",
        model_types=["linear", "nonlinear"], session=SESSION,
    )  # fmt: skip
    assert found.columns[found.isna().any()].tolist() == ["linear"]


def test_days_without_books_and_one_day_are_refused(synthetic_books: BookSnapshots) -> None:
    frame = frame_of(synthetic_books)
    with pytest.raises(
        ValidationError, match=r"of slippage 4 days, 1 of them without books; sample the same days"
    ):
        compare_forms(
            frame,
            synthetic_books.take(np.arange(39)),
            side="buy",
            total_shares=1.0,
            session=SESSION,
        )
    with pytest.raises(ValidationError, match=r"51 books for 4 days of 13 intervals"):
        compare_forms(
            frame,
            synthetic_books.take(np.arange(51)),
            side="buy",
            total_shares=1.0,
            session=SESSION,
        )


@pytest.mark.parametrize(
    ("n_days", "scheme", "why"),
    [
        (
            1,
            "walk_forward",
            "1 day of slippage leaves none to hold out, 2 are needed for an error; add days",
        ),
        (1, "leave_one_day_out", "1 day of slippage leaves none to hold out"),
        (2, "walk_forward", "2 days of slippage leave 1 to hold out"),
    ],
)
def test_fewer_than_two_days_held_out_do_not_suffice(
    synthetic_books: BookSnapshots, n_days: int, scheme: str, why: str
) -> None:
    frame, books = (
        frame_of(synthetic_books).iloc[: 52 * n_days],
        synthetic_books.take(np.arange(13 * n_days)),
    )
    choice = {"side": "buy", "total_shares": 10.0, "session": SESSION, "model_types": ["linear"]}
    with pytest.raises(InsufficientDataError, match=why):
        compare_forms(frame, books, scheme=scheme, **choice)
    if n_days == 2:
        assert len(compare_forms(frame, books, scheme="leave_one_day_out", **choice)) == 2


def losses(means: list[float], n_days: int, rng: np.random.Generator) -> pd.DataFrame:
    """Losses of TWAP and models b, c, ... on days that move them all alike."""
    noise = rng.normal(0, 1.0, (n_days, 1)) + rng.normal(0, 0.5, (n_days, len(means)))
    return pd.DataFrame(np.array(means) + noise, columns=["TWAP", *"bcdef"[: len(means) - 1]])


@pytest.mark.slow
def test_the_best_model_stays_in_the_set_as_often_as_it_says(rng: np.random.Generator) -> None:
    """80 of 80 expected if the test is conservative.

    Fewer than 64 has a chance below 0.001 at 90 %.
    """
    ranked = [
        rank_forms(losses([1.0, 1.1, 1.2], 60, rng), n_draws=200, seed=seed) for seed in range(80)
    ]
    assert sum(table.loc["TWAP", "p_value"] > 0.1 for table in ranked) >= 64


def test_clearly_worse_models_are_out_and_equal_ones_in(rng: np.random.Generator) -> None:
    p_values = rank_forms(losses([1.0, 1.0, 3.0], 60, rng))["p_value"]
    assert (p_values > 0.1).to_dict() == {"TWAP": True, "b": True, "c": False}


def test_p_values_are_archs(rng: np.random.Generator) -> None:
    table = losses([1.0, 1.2, 1.4], 27, rng)
    found = rank_forms(table, n_draws=300, seed=9)["p_value"]
    by_arch = MCS(table, 0.1, reps=300, block_size=3, seed=9)
    by_arch.compute()
    assert found.to_dict() == by_arch.pvalues["Pvalue"].to_dict()


def test_models_of_the_same_losses_stand_or_fall_together(rng: np.random.Generator) -> None:
    table = losses([1.0, 3.0], 30, rng)
    p_values = rank_forms(table.assign(c=table["b"], d=table["TWAP"]))["p_value"]
    assert (p_values > 0.1).to_dict() == {"TWAP": True, "d": True, "b": False, "c": False}
    assert p_values["b"] == p_values["c"]
    assert (rank_forms(table[["TWAP"]].assign(d=table["TWAP"]))["p_value"] == 1).all()


def test_too_few_days_tell_nothing(rng: np.random.Generator) -> None:
    assert rank_forms(losses([1.0, 9.0], 7, rng))["p_value"].isna().all()
    assert rank_forms(losses([1.0, 9.0], 8, rng)).loc["b", "p_value"] <= 0.1
