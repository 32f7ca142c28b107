"""What a portfolio schedule needs to know of its assets, and where it comes from."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from research_lib.checks import number
from research_lib.config import Record
from research_lib.errors import InsufficientDataError, ModelFittingError, ValidationError
from research_lib.impact import fit_impact, slippage_curves
from research_lib.market import (
    BookSnapshots,
    OrderFlow,
    Session,
    assess,
    preset,
    returns_before,
    summarise,
)
from research_lib.transient import ArrivalPriceParameters, calibrate_almgren_chriss

Float = NDArray[np.float64]
DAYS_OF_VOLUME = 21  # trading days of a month
TICK = 0.01
ONE_PERCENT = 0.01
# Sizes walked: evenly to a multiple of the best level, beyond which a walk first costs anything, or of the mean child,
# which a schedule front-loads. A quarter of that is the least, so that the touch alone does not set the slope.
WALKED_SIZES = np.linspace(0.25, 1.0, 6)
WALKED_LEVELS, WALKED_CHILDREN = 1.5, 4.0
RESPONSE_INTERVALS = (
    6  # half an hour of 78 intervals: later the impact of the moment has faded, the error grows
)


@dataclass(frozen=True, eq=False)
class Assets(Record):
    """m assets, time in days.

    Attributes
    ----------
    table : DataFrame (m rows), index the assets' names
        price (currency per share), volatility (currency per share per sqrt(day)), half_spread (currency per
        share), temporary (currency per share per (share per day)), permanent and permanent_error (currency per
        share**2, NaN where nothing measures it), depth (shares at the best level, of the side that the order
        takes; NaN without books), daily_volume (shares; NaN where unknown), spread_from, impact_from (texts).
    correlation : (m, m)
        Of returns.
    known : str
        What was known when, and from where.
    n_days : int
        Days behind the correlation.
    """

    table: pd.DataFrame
    correlation: Float
    known: str
    n_days: int

    @property
    def covariance(self) -> Float:
        """Of prices, (m, m) (currency per share)**2 per day."""
        volatility = self.table["volatility"].to_numpy()
        return np.asarray(self.correlation * np.outer(volatility, volatility))

    def market(self, session: Session) -> dict[str, Any]:
        """The arguments of `portfolio_schedule`, without permanent impact."""
        return {
            "covariance": self.covariance,
            "temporary": self.table["temporary"].to_numpy(),
            "half_spread": self.table["half_spread"].to_numpy(),
            "interval": 1.0 / session.n_intervals,
        }


def synthetic_assets(
    presets: Sequence[str],
    order_values: ArrayLike,
    session: Session,
    *,
    correlation: float,
    n_days: int,
    correlation_days: int,
    rng: np.random.Generator,
) -> Assets:
    """Synthetic stocks whose spread, impact and volatility are measured on drawn books, their correlation stated.

    Parameters
    ----------
    presets : sequence of m str
    order_values : (m,) currency
        Positive is sold; the impact is fitted around the mean child of a session.
    correlation : float
        Of every pair, in (-1 / (m - 1), 1).
    n_days, correlation_days : int
        Sessions of books drawn; days that a correlation estimate would have had.

    Raises
    ------
    InsufficientDataError
        Children beyond what the books of a stock show, or too few books.
    """
    values = np.asarray(order_values, float)
    rows = {
        name: _measured(name, value, session, n_days, stream)
        for name, value, stream in zip(presets, values, rng.spawn(len(presets)), strict=True)
    }
    matrix = np.full((len(presets),) * 2, number("correlation", correlation, -1, 1))
    np.fill_diagonal(matrix, 1.0)
    known = f"books: {n_days} synthetic sessions a stock; the correlation is stated, {correlation:g} for every pair"
    return Assets(pd.DataFrame(rows).T.infer_objects(), matrix, known, correlation_days)


def _measured(
    name: str, value: float, session: Session, n_days: int, rng: np.random.Generator
) -> dict[str, Any]:
    """One row of `Assets.table`, from books of a preset."""
    books = preset(name, session).books(n_days * session.n_intervals, 10, rng, flow=OrderFlow())
    side = "sell" if value >= 0 else "buy"
    depth = float(np.median(books.levels(side)[1][:, 0]))
    price = float(books.mid[-1])
    child = abs(value) / price / session.n_intervals
    sizes = WALKED_SIZES * max(WALKED_CHILDREN * child, WALKED_LEVELS * depth)
    try:
        found = _calibrated(books, sizes, side, session)
    except ModelFittingError as error:
        raise InsufficientDataError(
            f"{name}: too few books fill walks of {sizes[0]:,.0f} to {sizes[-1]:,.0f} shares, made for a mean child of "
            f"{child:,.0f}; lower order_values, raise n_intervals or n_days"
        ) from error
    return {
        "price": price,
        "volatility": found.volatility,
        "half_spread": found.half_spread,
        "temporary": float(found.temporary.mean()),
        "permanent": found.permanent,
        "permanent_error": found.permanent_error,
        "depth": depth,
        "daily_volume": np.nan,
        "spread_from": "books",
        "impact_from": f"walks of {sizes[0]:,.0f} to {sizes[-1]:,.0f} shares",
    }


def permanent_response(books: BookSnapshots, session: Session) -> pd.Series:
    """Permanent impact measured on one stock's books and signed trades, in parts of the slope of its own book walk.

    The slope is that of walks up to one and a half times the median best level, on the bids; the
    response is that of the mid to the signed volume of six intervals.

    Returns
    -------
    Series
        permanent, permanent_error (over the slope); signed_%: of the traded shares.
    """
    sampled = assess(books, session)[0].sample(session)
    depth = float(np.nanmedian(sampled.bid_size[:, 0]))
    found = _calibrated(sampled, WALKED_SIZES * WALKED_LEVELS * depth, "sell", session)
    slope = float(found.temporary.mean()) * session.n_intervals
    numbers = [found.permanent / slope, found.permanent_error / slope, 100.0 * found.signed_share]
    return pd.Series(numbers, ["permanent", "permanent_error", "signed_%"])


def _calibrated(
    books: BookSnapshots, sizes: Float, side: str, session: Session
) -> ArrivalPriceParameters:
    """Parameters in days, from sampled books."""
    frame = slippage_curves(books, sizes, side).to_frame(session.n_intervals, session)
    fit = fit_impact(
        frame, "linear", n_intervals=session.n_intervals, test_fraction=0.0, session=session
    )
    return calibrate_almgren_chriss(
        books, fit, session, interval=1.0 / session.n_intervals, horizons=(1, RESPONSE_INTERVALS)
    )


def quoted_assets(
    bars: Mapping[str, pd.DataFrame],
    quotes: Mapping[str, BookSnapshots],
    day: dt.date,
    session: Session,
    *,
    correlation_days: int,
) -> Assets:
    """Real stocks before `day`: prices, volatility, correlation and volume of daily bars, spreads of quotes.

    Volatility is of the session, from open to close; the correlation is of whole days, nights among them.
    Level-1 quotes show no impact beyond their best level, so the temporary impact is Almgren and Chriss's rule of
    thumb: to trade at a rate of 1 % of the usual volume a day costs one spread a share. Spreads are of the last day
    of quotes before `day`; where there are only those of `day` itself they are taken, which nobody knows before the
    close, and `known` and `spread_from` say so. A stock without quotes is given the least spread there is, one tick.

    Parameters
    ----------
    bars : mapping of name to DataFrame
        As `read_daily_bars`.
    quotes : mapping of name to BookSnapshots
        For spreads; of the day before, or of `day` itself where nothing earlier is to be had.
    day : date

    Raises
    ------
    ValidationError
        Quotes that are all of later days.
    """
    returns = returns_before(bars, day, correlation_days)
    shown = {name: _last_known(books, day, session) for name, books in quotes.items()}
    rows = {}
    for name, table in bars.items():
        known = table[table.index < pd.Timestamp(day)]
        price = float(known["close"].iloc[-1])
        volume = float(known["volume"].iloc[-DAYS_OF_VOLUME:].mean())
        seen = name in shown
        spread = float(summarise(shown[name][0], session)["spread"]) if seen else TICK
        rows[name] = {
            "price": price,
            "volatility": float((table["close"] / table["open"] - 1.0)[returns.index].std())
            * price,
            "half_spread": 0.5 * spread,
            "temporary": spread / (ONE_PERCENT * volume),
            "permanent": np.nan,
            "permanent_error": np.nan,
            "depth": float(np.nanmedian(shown[name][0].bid_size[:, 0])) if seen else np.nan,
            "daily_volume": volume,
            "spread_from": f"quotes of {shown[name][1]}"
            if seen
            else "one tick, the least there is",
            "impact_from": "rule: a rate of 1 % of daily volume costs one spread",
        }
    known_text = f"daily bars of the {correlation_days} days up to {returns.index[-1]:%Y-%m-%d}, adjusted for splits"
    ahead = [name for name in bars if name in shown and shown[name][1] == day]
    if ahead:
        known_text += f"; the spreads of {', '.join(ahead)} from quotes of {day} itself, there being no earlier ones"
    return Assets(
        pd.DataFrame(rows).T.infer_objects(),
        returns.corr().to_numpy(),
        known_text,
        correlation_days,
    )


def _last_known(
    quotes: BookSnapshots, day: dt.date, session: Session
) -> tuple[BookSnapshots, dt.date]:
    """Quotes of the last day before `day`, else of `day` itself, and which day that is."""
    dates = session.days(quotes.time)
    usable = dates[dates < day] if np.any(dates < day) else dates[dates == day]
    if not len(usable):
        raise ValidationError(
            f"quotes of {quotes.symbol} begin on {dates.min()}, after {day}; give those of the day before"
        )
    last = usable.max()
    return quotes.take(np.flatnonzero(dates == last)), last


def cross_impact(
    assets: Assets, session: Session, *, share: float, cross: float, asymmetry: float
) -> Float:
    r"""An assumed permanent impact, (m, m) currency per share**2, not symmetric.

    .. math:: \Gamma_{ii} = s \, \eta_i / \tau, \qquad
              \Gamma_{ij} = c \, \rho_{ij} \sqrt{\Gamma_{ii} \Gamma_{jj}} \, (1 \pm a)

    with plus above the diagonal: asset i answers to the sale of a later asset j more than the reverse.

    Parameters
    ----------
    share : float
        s, of what a share adds to the average price of its own book walk.
    cross, asymmetry : float
        c and a, in [0, 1].
    """
    own = number("share", share, 0, 2) * assets.table["temporary"].to_numpy() * session.n_intervals
    lean = number("asymmetry", asymmetry, 0, 1) * np.sign(
        np.subtract.outer(-np.arange(len(own)), -np.arange(len(own)))
    )
    gamma = (
        number("cross", cross, 0, 1)
        * assets.correlation
        * np.sqrt(np.outer(own, own))
        * (1.0 + lean)
    )
    np.fill_diagonal(gamma, own)
    return np.asarray(gamma)
