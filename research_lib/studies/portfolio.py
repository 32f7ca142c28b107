"""What a portfolio schedule needs to know of its assets, and what an error of it costs."""

import datetime as dt
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from research_lib.checks import Float, number, same_labels
from research_lib.config import Record
from research_lib.errors import InsufficientDataError, ModelFittingError, ValidationError
from research_lib.execution import portfolio_schedule, price_portfolio
from research_lib.impact import fit_impact, slippage_curves
from research_lib.market import BookSnapshots, Session, preset, returns_before, summarise
from research_lib.transient import calibrate_almgren_chriss

DAYS_OF_VOLUME = 21  # trading days of a month
TICK, ONE_PERCENT = 0.01, 0.01  # the tick is that of the stocks that daily bars are read for
# Sizes walked: evenly to a multiple of the best level, beyond which a walk first costs anything, or
# of the mean child order, which a schedule front-loads. A quarter of that is the least, so that the
# touch alone does not set the slope.
WALKED_SIZES = np.linspace(0.25, 1.0, 6)
WALKED_LEVELS, WALKED_CHILD_ORDERS = 1.5, 4.0
COLUMNS = ["price", "volatility", "half_spread", "temporary"]
COLUMNS += ["daily_volume", "spread_from", "impact_from"]
RULE = "rule: a rate of 1 % of daily volume costs one spread"


@dataclass(frozen=True, eq=False)
class Assets(Record):
    """m assets, time in days.

    Attributes
    ----------
    table : DataFrame (m rows), index the assets' names
        price (currency per share), volatility (currency per share per sqrt(day)), half_spread
        (currency per share), temporary (currency per share per (share per day)), daily_volume
        (shares; NaN where unknown), spread_from, impact_from (texts).
    correlation : (m, m)
        Of returns.
    known : str
        What was known when, and from where.
    n_days : int
        Days behind the correlation.

    Examples
    --------
    >>> table = {"volatility": [1.0, 2.0], "temporary": [1e-6, 2e-6], "half_spread": 0.01}
    >>> assets = Assets(pd.DataFrame(table, ["A", "B"]), np.eye(2), "by hand", 60)
    >>> assets.market(Session(26))["covariance"].loc["B"].tolist()
    [0.0, 4.0]
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
        """The arguments of `portfolio_schedule`, labelled, without permanent impact."""
        names = self.table.index
        costs = {name: self.table[name] for name in ("temporary", "half_spread")}
        costs["covariance"] = pd.DataFrame(self.covariance, names, names)
        return {"interval": 1.0 / session.n_intervals, **costs}


def synthetic_assets(
    presets: Sequence[str], order_values: ArrayLike, session: Session, *,
    correlation: float, n_days: int, correlation_days: int, rng: np.random.Generator,
) -> Assets:  # fmt: skip
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
    if len(set(presets)) < len(presets):
        raise ValidationError(f"presets must be different stocks, got {', '.join(presets)}")
    values = np.asarray(same_labels("order_values", order_values, presets), float)
    stocks = zip(presets, values, rng.spawn(len(presets)), strict=True)
    rows = {name: _measured(name, value, session, n_days, draw) for name, value, draw in stocks}
    matrix = np.full((len(presets),) * 2, number("correlation", correlation, -1, 1))
    np.fill_diagonal(matrix, 1.0)
    known = f"{n_days} synthetic sessions of books a stock; every correlation is stated"
    return Assets(_table(rows), matrix, known, correlation_days)


def _table(rows: Mapping[str, tuple[Any, ...]]) -> pd.DataFrame:
    return pd.DataFrame.from_dict(rows, orient="index", columns=COLUMNS)


def _measured(
    name: str, value: float, session: Session, n_days: int, rng: np.random.Generator
) -> tuple[Any, ...]:
    """One row of `Assets.table`, from books of a preset."""
    n, side = session.n_intervals, "sell" if value >= 0 else "buy"
    books = preset(name, session).books(n_days * n, 10, rng)
    depth, price = float(np.median(books.levels(side)[1][:, 0])), float(books.mid[-1])
    child = abs(value) / price / n
    sizes = WALKED_SIZES * max(WALKED_CHILD_ORDERS * child, WALKED_LEVELS * depth)
    walks = f"walks of {sizes[0]:,.0f} to {sizes[-1]:,.0f} shares"
    frame = slippage_curves(books, sizes, side).to_frame(n, session)
    try:
        fit = fit_impact(frame, "linear", n_intervals=n, test_fraction=0.0, session=session)
    except ModelFittingError as error:
        lacks = f"{name}: too few books fill {walks}, made for a mean child of {child:,.0f}"
        remedy = "lower order_values, raise n_intervals or n_days"
        raise InsufficientDataError(f"{lacks}; {remedy}") from error
    found = calibrate_almgren_chriss(books, fit, session, interval=1.0 / n)
    return price, *(found[name] for name in COLUMNS[1:4]), np.nan, "books", walks


def quoted_assets(
    bars: Mapping[str, pd.DataFrame], quotes: Mapping[str, BookSnapshots], day: dt.date,
    session: Session, *, correlation_days: int,
) -> Assets:  # fmt: skip
    """Real stocks before `day`: prices, covariance and volume of daily bars.

    An order is worked from open to close, so volatilities and correlation are both those of the
    session: of returns from open to close, by `ledoit_wolf` over one window, the last
    `correlation_days` days on which all stocks traded. Nights are in neither. Level-1 quotes show
    no impact beyond their best level, so the temporary impact is Almgren and Chriss's rule of
    thumb: to trade at a rate of 1 % of the usual volume a day costs one spread a share. Spreads are
    of the last day of quotes up to `day`: quotes of `day` itself are known only after its close,
    and `spread_from` names their day. A stock without quotes is given the least spread there is,
    one tick.

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
        Too few common days, quotes that begin after `day`, a stock that never moved in a session.

    Examples
    --------
    >>> days = pd.date_range("2020-01-01", periods=40, name="day")
    >>> opens = 50 * np.exp(np.random.default_rng(1).normal(0, 0.02, (2, 40)))
    >>> bars = pd.DataFrame({"close": 50.0, "volume": 1e6, "return": 0.01}, days)
    >>> bars = {"A": bars.assign(open=opens[0]), "B": bars.assign(open=opens[1])}
    >>> found = quoted_assets(bars, {}, dt.date(2020, 1, 31), Session(26), correlation_days=20)
    >>> found.table[["half_spread", "temporary"]].loc["A"].tolist()
    [0.005, 1e-06]
    """
    window = returns_before(bars, day, correlation_days).index
    within = pd.DataFrame({k: table["close"] / table["open"] - 1.0 for k, table in bars.items()})
    within = within.loc[window]
    still = within.columns[np.ptp(within, axis=0) == 0]
    if len(still):
        what = f"{', '.join(still)} never moved from open to close on {correlation_days} days"
        raise ValidationError(f"{what}: raise correlation_days, or leave it out")
    covariance, shrunk = ledoit_wolf(within)
    volatility = np.sqrt(np.diag(covariance))
    rows = {}
    for i, (name, table) in enumerate(bars.items()):
        known = table[table.index < pd.Timestamp(day)]
        price = float(known["close"].iloc[-1])
        volume = float(known["volume"].iloc[-DAYS_OF_VOLUME:].mean())
        spread, source = TICK, "one tick, the least there is"
        if name in quotes:
            spread, source = _quoted(quotes[name], day, session)
        slope = spread / (ONE_PERCENT * volume)
        rows[name] = price, volatility[i] * price, spread / 2, slope, volume, source, RULE
    correlation = covariance / np.outer(volatility, volatility)
    note = f"daily bars of {correlation_days} days to {window[-1]:%Y-%m-%d}, from open to close; "
    note += f"correlations are shrunk by {100 * shrunk:.0f} % towards their mean (Ledoit and Wolf)"
    return Assets(_table(rows), correlation, note, correlation_days)


def ledoit_wolf(returns: ArrayLike) -> tuple[Float, float]:
    r"""Covariance shrunk towards one correlation of all pairs; each variance is the sample's.

    .. math:: \hat\Sigma = \delta F + (1 - \delta) S, \qquad
              \delta = \frac{1}{T} \frac{\pi - \rho}{\gamma} \text{ within } [0, 1]

    S is the sample covariance, F has its variances and its mean correlation, pi is the sum of the
    asymptotic variances of :math:`\sqrt T S`, rho that of its covariances with F, gamma the squared
    Frobenius distance of F and S. Shrinkage towards a multiple of the identity (their paper in the
    Journal of Multivariate Analysis 88) would also draw all variances to their mean. Measured for
    the orders of `portfolio_us` with 250 normal days drawn about the sample covariance, the plan's
    cost plus risk is above the best by 0.25 % with F, 0.30 % with the identity and 0.15 % with S
    itself (20 days: 2.6, 10 and 1.8 %): four assets, one the hedge of the others, have little need
    of shrinkage.

    Parameters
    ----------
    returns : (T, m)
        Of days that are taken as independent, T at least 2.

    Returns
    -------
    (m, m), float
        The covariance, with T - 1 in place of T as the mean is estimated, and delta.

    References
    ----------
    Ledoit and Wolf (2004), "Honey, I shrunk the sample covariance matrix", Journal of Portfolio
    Management 30(4), appendices A and B.

    Examples
    --------
    >>> moves = np.random.default_rng(1).normal(0, 0.02, (60, 4))
    >>> covariance, shrunk = ledoit_wolf(moves)
    >>> bool(np.allclose(np.diag(covariance), moves.var(axis=0, ddof=1))), 0 <= shrunk <= 1
    (True, True)
    """
    values = np.asarray(returns, float)
    x, t, m = values - values.mean(axis=0), len(values) - 1, values.shape[1]
    sample = x.T @ x / t
    deviation = np.sqrt(np.diag(sample))
    scale = np.outer(deviation, deviation)
    mean = ((sample / scale).sum() - m) / max(m * (m - 1), 1)
    target = np.where(np.eye(m) == 1, sample, mean * scale)
    spread = (x**2).T @ x**2 / t - sample**2  # pi by element
    pull = (x**3).T @ x / t - np.diag(sample)[:, None] * sample  # of s_ii with s_ij
    pull *= np.outer(1.0 / deviation, deviation) * (1.0 - np.eye(m))
    gap = float(((target - sample) ** 2).sum())
    excess = spread.sum() - np.trace(spread) - mean * pull.sum()
    shrunk = min(max(float(excess) / (gap * t), 0.0), 1.0) if gap > 0 else 0.0
    return shrunk * target + (1.0 - shrunk) * sample, shrunk


def _quoted(quotes: BookSnapshots, day: dt.date, session: Session) -> tuple[float, str]:
    """Spread of the last day before `day`, else of `day` itself; and which that is."""
    dates = session.days(quotes.time)
    usable = dates[dates < day] if np.any(dates < day) else dates[dates == day]
    if not len(usable):
        raise ValidationError(f"quotes of {quotes.symbol} begin on {dates.min()}, after {day}")
    books = quotes.take(np.flatnonzero(dates == usable.max()))
    return float(summarise(books, session)["spread"]), f"quotes of {usable.max()}"


def correlation_regret(
    orders: ArrayLike, n_intervals: int, correlation: ArrayLike, market: Mapping[str, Any],
    days: Sequence[int], rng: np.random.Generator, draws: int = 100,
) -> pd.DataFrame:  # fmt: skip
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

    given = {"orders": orders, "correlation": correlation, **market}
    labelled = (one.axes[-1] for one in given.values() if hasattr(one, "axes"))
    names = next(labelled, None)
    known = {name: same_labels(name, value, names) for name, value in given.items()}
    known = {k: v.to_numpy() if hasattr(v, "to_numpy") else v for k, v in known.items()}
    amounts, truth = (np.asarray(known.pop(k), float) for k in ("orders", "correlation"))
    if min(days) < len(truth):
        raise ValidationError(f"days must be at least {len(truth)}, one an asset, got {min(days)}")
    regret = _regret(amounts, n_intervals, known, truth)
    rows = {}
    for span in days:
        drawn = stats.wishart(span, truth / span).rvs(draws, random_state=rng)
        drawn = drawn.reshape(draws, *truth.shape)  # one draw comes without its axis
        deviation = np.sqrt(np.diagonal(drawn, axis1=1, axis2=2))
        scaled = drawn / (deviation[:, :, None] * deviation[:, None, :])
        rows[str(span)] = [regret(estimate) for estimate in scaled]
    rows["none"] = [regret(np.eye(len(truth)))]
    table = {k: [np.mean(one), np.median(one), np.quantile(one, 0.95)] for k, one in rows.items()}
    return pd.DataFrame(table, index=["mean", "median", "upper"]).T.rename_axis("days")


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
