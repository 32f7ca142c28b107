"""What a portfolio schedule needs to know of its assets, and what an error of it costs."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from research_lib.checks import number, same_labels
from research_lib.config import Record
from research_lib.errors import InsufficientDataError, ModelFittingError, ValidationError
from research_lib.execution import portfolio_schedule, price_portfolio
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
TICK = 0.01  # of the stocks that daily bars are read for
ONE_PERCENT = 0.01
# Sizes walked: evenly to a multiple of the best level, beyond which a walk first costs anything, or
# of the mean child order, which a schedule front-loads. A quarter of that is the least, so that the
# touch alone does not set the slope.
WALKED_SIZES = np.linspace(0.25, 1.0, 6)
WALKED_LEVELS, WALKED_CHILD_ORDERS = 1.5, 4.0
# Half an hour of 78 intervals: later the transient impact has faded, and the error grows.
RESPONSE_INTERVALS = 6
NONE = "none"


@dataclass(frozen=True, eq=False)
class Assets(Record):
    """m assets, time in days.

    Attributes
    ----------
    table : DataFrame (m rows), index the assets' names
        price (currency per share), volatility (currency per share per sqrt(day)), half_spread
        (currency per share), temporary (currency per share per (share per day)), permanent and
        permanent_error (currency per share**2, NaN where nothing measures it), depth (shares at the
        best level, of the side that the order takes; NaN without books), daily_volume (shares; NaN
        where unknown), spread_from, impact_from (texts).
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
    """Synthetic stocks, measured on drawn books; their correlation is stated.

    Parameters
    ----------
    presets : sequence of m str
    order_values : (m,) currency
        Positive is sold; the impact is fitted around the mean child order of a session. A Series is
        aligned with `presets` by its labels.
    correlation : float
        Of every pair, in (-1 / (m - 1), 1).
    n_days, correlation_days : int
        Sessions of books drawn; days that a correlation estimate would have had.

    Raises
    ------
    InsufficientDataError
        Child orders beyond what the books of a stock show, or too few books.

    Examples
    --------
    >>> names, rng = ["thin_stock", "deep_stock"], np.random.default_rng(5)
    >>> drawn = {"correlation": 0.5, "n_days": 2, "correlation_days": 60, "rng": rng}
    >>> found = synthetic_assets(names, [1e6, -1e6], Session(26), **drawn)
    >>> found.table.index.tolist(), found.correlation.tolist()
    (['thin_stock', 'deep_stock'], [[1.0, 0.5], [0.5, 1.0]])
    """
    values = np.asarray(same_labels("order_values", order_values, presets), float)
    streams = rng.spawn(len(presets))
    rows = {
        name: _measured(name, value, session, n_days, stream)
        for name, value, stream in zip(presets, values, streams, strict=True)
    }
    matrix = np.full((len(presets),) * 2, number("correlation", correlation, -1, 1))
    np.fill_diagonal(matrix, 1.0)
    known = (
        f"books: {n_days} synthetic sessions a stock; the correlation is stated, "
        f"{correlation:g} for every pair"
    )
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
    sizes = WALKED_SIZES * max(WALKED_CHILD_ORDERS * child, WALKED_LEVELS * depth)
    walks = f"walks of {sizes[0]:,.0f} to {sizes[-1]:,.0f} shares"
    try:
        found = _calibrated(books, sizes, side, session)
    except ModelFittingError as error:
        raise InsufficientDataError(
            f"{name}: too few books fill {walks}, made for a mean child of {child:,.0f}; "
            "lower order_values, raise n_intervals or n_days"
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
        "impact_from": walks,
    }


def _calibrated(
    books: BookSnapshots, sizes: Float, side: str, session: Session
) -> ArrivalPriceParameters:
    """Parameters in days, from sampled books."""
    n = session.n_intervals
    frame = slippage_curves(books, sizes, side).to_frame(n, session)
    fit = fit_impact(frame, "linear", n_intervals=n, test_fraction=0.0, session=session)
    span = RESPONSE_INTERVALS
    return calibrate_almgren_chriss(books, fit, session, interval=1.0 / n, horizon=span)


def permanent_response(books: BookSnapshots, session: Session) -> pd.Series:
    """Permanent impact of one stock's signed trades, in parts of the slope of its own book walk.

    The slope is that of walks up to one and a half times the median best level, on the bids; the
    response is that of the mid to the signed volume of six intervals.

    Returns
    -------
    Series
        permanent, permanent_error (over the slope); signed_%: of the traded shares.

    Examples
    --------
    >>> session = Session(26)
    >>> market = preset("thin_stock", session)
    >>> books = market.books(260, 5, np.random.default_rng(9), flow=OrderFlow())
    >>> found = permanent_response(books, session)
    >>> bool(abs(found["permanent"]) < 3 * found["permanent_error"])  # this market has none
    True
    """
    sampled = assess(books, session)[0].sample(session)
    depth = float(np.nanmedian(sampled.bid_size[:, 0]))
    found = _calibrated(sampled, WALKED_SIZES * WALKED_LEVELS * depth, "sell", session)
    slope = float(found.temporary.mean()) * session.n_intervals
    return pd.Series(
        {
            "permanent": found.permanent / slope,
            "permanent_error": found.permanent_error / slope,
            "signed_%": 100.0 * found.signed_share,
        }
    )


def quoted_assets(
    bars: Mapping[str, pd.DataFrame],
    quotes: Mapping[str, BookSnapshots],
    day: dt.date,
    session: Session,
    *,
    correlation_days: int,
) -> Assets:
    """Real stocks before `day`: prices, volatility, correlation and volume of daily bars.

    Volatility is of the session, from open to close; the correlation is of whole days, nights among
    them. Level-1 quotes show no impact beyond their best level, so the temporary impact is Almgren
    and Chriss's rule of thumb: to trade at a rate of 1 % of the usual volume a day costs one spread
    a share. Spreads are of the last day of quotes before `day`; where there are only those of `day`
    itself they are taken, which nobody knows before the close, and `known` and `spread_from` say
    so. A stock without quotes is given the least spread there is, one tick.

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

    Examples
    --------
    >>> days = pd.date_range("2020-01-01", periods=40, name="day")
    >>> moves = np.random.default_rng(1).normal(0, 0.02, (2, 40))
    >>> bars = pd.DataFrame({"open": 49.0, "close": 50.0, "volume": 1e6}, days)
    >>> bars = {"A": bars.assign(**{"return": moves[0]}), "B": bars.assign(**{"return": moves[1]})}
    >>> found = quoted_assets(bars, {}, dt.date(2020, 1, 31), Session(26), correlation_days=20)
    >>> found.table[["half_spread", "temporary"]].loc["A"].tolist()
    [0.005, 1e-06]
    """
    returns = returns_before(bars, day, correlation_days)
    shown = {name: _last_known(books, day, session) for name, books in quotes.items()}
    rows = {}
    for name, table in bars.items():
        known = table[table.index < pd.Timestamp(day)]
        price = float(known["close"].iloc[-1])
        volume = float(known["volume"].iloc[-DAYS_OF_VOLUME:].mean())
        spread, depth, spread_from = TICK, np.nan, "one tick, the least there is"
        if name in shown:
            books, quoted = shown[name]
            spread = float(summarise(books, session)["spread"])
            depth, spread_from = float(np.nanmedian(books.bid_size[:, 0])), f"quotes of {quoted}"
        within = (table["close"] / table["open"] - 1.0)[returns.index]
        rows[name] = {
            "price": price,
            "volatility": float(within.std()) * price,
            "half_spread": 0.5 * spread,
            "temporary": spread / (ONE_PERCENT * volume),
            "permanent": np.nan,
            "permanent_error": np.nan,
            "depth": depth,
            "daily_volume": volume,
            "spread_from": spread_from,
            "impact_from": "rule: a rate of 1 % of daily volume costs one spread",
        }
    source = (
        f"daily bars of the {correlation_days} days up to {returns.index[-1]:%Y-%m-%d}, "
        "adjusted for splits"
    )
    ahead = [name for name in bars if name in shown and shown[name][1] == day]
    if ahead:
        source += (
            f"; the spreads of {', '.join(ahead)} from quotes of {day} itself, "
            "there being no earlier ones"
        )
    measured = pd.DataFrame(rows).T.infer_objects()
    return Assets(measured, returns.corr().to_numpy(), source, correlation_days)


def _last_known(
    quotes: BookSnapshots, day: dt.date, session: Session
) -> tuple[BookSnapshots, dt.date]:
    """Quotes of the last day before `day`, else of `day` itself, and which day that is."""
    dates = session.days(quotes.time)
    usable = dates[dates < day] if np.any(dates < day) else dates[dates == day]
    if not len(usable):
        raise ValidationError(
            f"quotes of {quotes.symbol} begin on {dates.min()}, after {day}; "
            "give those of the day before"
        )
    last = usable.max()
    return quotes.take(np.flatnonzero(dates == last)), last


def cross_impact(
    assets: Assets, session: Session, *, share: float, cross: float, asymmetry: float
) -> Float:
    r"""An assumed permanent impact, (m, m) currency per share**2, not symmetric.

    .. math:: \Gamma_{ii} = s \, \eta_i / \tau, \qquad
              \Gamma_{ij} = c \, \rho_{ij} \sqrt{\Gamma_{ii} \Gamma_{jj}} \, (1 \pm a)

    with plus above the diagonal: asset i answers to the sale of a later asset j more than the
    reverse.

    Parameters
    ----------
    share : float
        s, of what a share adds to the average price of its own book walk.
    cross, asymmetry : float
        c and a, in [0, 1].

    Examples
    --------
    >>> table = pd.DataFrame({"temporary": [1.0, 4.0]}, index=["A", "B"])
    >>> assets = Assets(table, np.array([[1.0, 0.5], [0.5, 1.0]]), "by hand", 0)
    >>> cross_impact(assets, Session(1), share=1.0, cross=1.0, asymmetry=0.5).tolist()
    [[1.0, 1.5], [0.5, 4.0]]
    """
    own = number("share", share, 0, 2) * assets.table["temporary"].to_numpy() * session.n_intervals
    above = np.sign(np.subtract.outer(-np.arange(len(own)), -np.arange(len(own))))
    lean = 1.0 + number("asymmetry", asymmetry, 0, 1) * above
    scale = number("cross", cross, 0, 1) * assets.correlation
    gamma = scale * np.sqrt(np.outer(own, own)) * lean
    np.fill_diagonal(gamma, own)
    return np.asarray(gamma)


def correlation_regret(
    orders: ArrayLike,
    n_intervals: int,
    correlation: ArrayLike,
    market: Mapping[str, Any],
    days: Sequence[int],
    rng: np.random.Generator,
    draws: int = 100,
) -> pd.DataFrame:
    r"""What a correlation estimated over few days costs, where returns are normal and it stays.

    Volatilities are taken as known. The estimate over T days is drawn from the Wishart law about
    the truth; the schedule made with it is priced with the truth:

    .. math:: \mathrm{regret} = \frac{U(x(\hat C)) - U(x(C))}{U(x(C))}, \quad U = E + \lambda V

    Parameters
    ----------
    orders : (m,) shares
        Where orders, correlation and market are labelled, they are aligned by label.
    correlation : (m, m)
        The truth.
    market : mapping
        Arguments of `portfolio_schedule`, risk_aversion among them; of its covariance the variances
        count.
    days : sequence of int
        T, at least m.
    draws : int
        Estimates drawn for each T.

    Returns
    -------
    DataFrame, index days as texts, with "none" last: correlation taken as 0
        mean, median, upper (95 % quantile) of the regret, per cent.

    Examples
    --------
    >>> truth, rng = np.array([[1.0, 0.6], [0.6, 1.0]]), np.random.default_rng(2)
    >>> market = {"covariance": truth, "temporary": [1e-6, 2e-6], "risk_aversion": 1e-6}
    >>> regret = correlation_regret([1e5, -1e5], 5, truth, market, [5, 500], rng, draws=5)
    >>> bool(regret["mean"]["5"] > regret["mean"]["500"] > 0)
    True
    """
    from scipy import stats

    names = getattr(correlation, "columns", None)
    orders, market, names = _aligned(orders, market, names)
    truth = np.asarray(same_labels("correlation", correlation, names), float)
    if min(days) < len(truth):
        raise ValidationError(f"days must be at least {len(truth)}, one an asset, got {min(days)}")
    regret = _regret(orders, n_intervals, market, truth)
    samples = {}
    for span in days:
        drawn = stats.wishart(span, truth / span).rvs(draws, random_state=rng)
        drawn = drawn.reshape(draws, *truth.shape)  # one draw comes without its axis
        deviation = np.sqrt(np.diagonal(drawn, axis1=1, axis2=2))
        scaled = drawn / (deviation[:, :, None] * deviation[:, None, :])
        samples[str(span)] = [regret(estimate) for estimate in scaled]
    return _summary({**samples, NONE: [regret(np.eye(len(truth)))]})


def realised_regret(
    orders: ArrayLike,
    n_intervals: int,
    returns: pd.DataFrame,
    market: Mapping[str, Any],
    days: Sequence[int],
    ahead: int = 60,
) -> pd.DataFrame:
    """The same where the truth is the market's own.

    Plans are made with the last T days and priced with the `ahead` next ones. Volatilities are
    those of `market` throughout, so that only the correlation is at stake. The windows of the
    future do not overlap. Their correlation is an estimate as well: even who knew the law that they
    are drawn from would have regret.

    Parameters
    ----------
    returns : DataFrame (d, m)
        In time order; d above the longest T. Labelled orders and markets are aligned with its
        columns.
    days, ahead : int
        T, above m; the length of the windows that price.

    Returns
    -------
    DataFrame, as `correlation_regret`

    Examples
    --------
    >>> drawn = np.random.default_rng(4).multivariate_normal([0, 0], [[1, 0.6], [0.6, 1]], 90)
    >>> returns = pd.DataFrame(drawn, columns=["A", "B"])
    >>> market = {"covariance": np.eye(2), "temporary": [1e-6, 2e-6], "risk_aversion": 1e-6}
    >>> realised_regret([1e5, -1e5], 5, returns, market, [30], ahead=30).index.tolist()
    ['30', 'none']
    """
    n, m = returns.shape
    ahead = number("ahead", ahead, m + 1, integer=True)
    starts = range(max(days), n - ahead + 1, ahead)
    if min(days) <= m or not len(starts):
        raise ValidationError(
            f"{n} days of {m} returns hold no window of {ahead} after {max(days)}, "
            f"or days are below {m + 1}"
        )
    orders, market, names = _aligned(orders, market, returns.columns)
    returns = returns[names]
    samples: dict[str, list[float]] = {**{str(span): [] for span in days}, NONE: []}
    for start in starts:
        truth = returns.iloc[start : start + ahead].corr().to_numpy()
        regret = _regret(orders, n_intervals, market, truth)
        for span in days:
            past = returns.iloc[start - span : start].corr().to_numpy()
            samples[str(span)].append(regret(past))
        samples[NONE].append(regret(np.eye(m)))
    return _summary(samples)


def _aligned(
    orders: ArrayLike, market: Mapping[str, Any], names: Any
) -> tuple[Float, dict[str, Any], Any]:
    """Orders and market without labels, in the order of the orders' own, else of `names`."""
    own = getattr(orders, "index", None)
    if own is not None and not callable(own):
        same_labels("orders", orders, names)
        names = own
    plain = {name: same_labels(name, value, names) for name, value in market.items()}
    plain = {k: v.to_numpy() if hasattr(v, "to_numpy") else v for k, v in plain.items()}
    return np.asarray(orders, float), plain, names


def _regret(
    orders: Float, n_intervals: int, market: Mapping[str, Any], truth: Float
) -> Callable[[Float], float]:
    """Cost plus risk of a plan made with a believed correlation above the best, per cent."""
    deviation = np.sqrt(np.diag(np.asarray(market["covariance"], float)))
    scale = np.outer(deviation, deviation)
    prices = {name: value for name, value in market.items() if name != "risk_aversion"}

    def objective(believed: Float) -> float:
        plan = portfolio_schedule(orders, n_intervals, **{**market, "covariance": believed * scale})
        priced = price_portfolio(plan.shares, **{**prices, "covariance": truth * scale})
        return priced.expected_cost + market["risk_aversion"] * priced.variance

    best = objective(truth)
    return lambda believed: 100.0 * (objective(believed) / best - 1.0)


def _summary(samples: Mapping[str, Sequence[float]]) -> pd.DataFrame:
    rows = {name: [np.mean(s), np.median(s), np.quantile(s, 0.95)] for name, s in samples.items()}
    columns = ["mean", "median", "upper"]
    return pd.DataFrame.from_dict(rows, orient="index", columns=columns).rename_axis("days")
