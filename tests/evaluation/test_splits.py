"""A prior is not carried across a split, unless that is asked for; nothing pools it in silence."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np
import pytest

from research_lib import ImpactModel
from research_lib.errors import ValidationError
from research_lib.evaluation import Prior, known_before, walk_forward
from research_lib.impact import fit_impact, moments_of_books
from research_lib.market import BookSnapshots, Session, preset

SESSION = Session(13)


def _split_on_the_third_day(ratio: float) -> BookSnapshots:
    """Four days; from the third one `ratio` new shares for each old one."""
    books = preset("thin_stock", SESSION).books(13 * 4, 6, np.random.default_rng(1))
    new = np.where(np.arange(13 * 4) >= 26, ratio, 1.0)[:, None]
    return dataclasses.replace(
        books,
        bid_price=books.bid_price / new,
        ask_price=books.ask_price / new,
        bid_size=books.bid_size * new,
        ask_size=books.ask_size * new,
    )


@pytest.mark.parametrize(
    ("ratio", "named"),
    [(10.0, "1 old were 10 new"), (1.5, "2 old were 3 new"), (0.05, "20 old were 1 new")],
)
def test_a_prior_is_not_carried_across_a_split(ratio: float, named: str) -> None:
    books = _split_on_the_third_day(ratio)
    date = books.days(SESSION)[2]
    with pytest.raises(ValidationError, match=rf"\({date}\), as if {named} shares"):
        known_before(books, SESSION)


def test_it_is_carried_where_that_is_asked_for() -> None:
    books = _split_on_the_third_day(10.0)
    known = known_before(books, SESSION, on_jump="carry", sides=["buy"])
    assert len(walk_forward(known, SESSION, sizes=[100.0])) == 3 * 8
    with pytest.raises(ValidationError, match="on_jump 'keep' is unknown"):
        known_before(books, SESSION, on_jump="keep")


def test_days_after_the_split_have_priors_of_their_own() -> None:
    """Fitted on one day, the fourth day's prior is the third's; the first two are of old shares."""
    later = _split_on_the_third_day(10.0).take(np.arange(26, 52))
    assert len(known_before(later, SESSION, n_fitted=1)) == 1


def test_a_usual_night_is_no_split() -> None:
    books = preset("thin_stock", SESSION).books(13 * 4, 6, np.random.default_rng(1))
    night = np.where(np.arange(13 * 4) >= 26, 0.9, 1.0)[:, None]
    fallen = dataclasses.replace(
        books, bid_price=books.bid_price * night, ask_price=books.ask_price * night
    )
    assert len(known_before(fallen, SESSION)) == 3


def test_a_halt_between_the_days_does_not_hide_the_split() -> None:
    books = _split_on_the_third_day(10.0)
    halted = np.where((np.arange(52) >= 26) & (np.arange(52) < 39), 0.0, 1.0)[:, None]
    books = dataclasses.replace(books, bid_size=books.bid_size * halted)
    with pytest.raises(ValidationError, match="as if 1 old were 10 new shares"):
        known_before(books, SESSION)


def _fit_of_frame(books: BookSnapshots) -> str:
    model = ImpactModel("linear", session=SESSION)
    return model.fit_model(model.estimate_slippage(books, [200.0, 500.0])).information


def _fit_of_moments(books: BookSnapshots) -> str:
    days = (books.take(np.arange(k, k + 13)) for k in range(0, len(books), 13))
    moments = moments_of_books(days, [200.0, 500.0], "buy", SESSION)
    return fit_impact(moments, "linear").information


def _prior(books: BookSnapshots) -> str:
    return Prior.from_books(books, "buy", SESSION, "four days").source


@pytest.mark.parametrize("pooled", [_fit_of_frame, _fit_of_moments, _prior])
def test_days_on_both_sides_of_a_split_are_not_pooled_without_a_word(
    pooled: Callable[[BookSnapshots], str], caplog: pytest.LogCaptureFixture
) -> None:
    words = "as if 1 old were 10 new shares"
    pooled(preset("thin_stock", SESSION).books(13 * 4, 6, np.random.default_rng(1)))
    assert "old were" not in caplog.text
    told = pooled(_split_on_the_third_day(10.0))
    assert f"{words}: the fit pools both sides of it" in caplog.text
    assert words in told or pooled is _prior
