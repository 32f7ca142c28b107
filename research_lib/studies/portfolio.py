"""What a portfolio schedule needs to know of its assets, what each way to trade them costs, and
what an error of the correlation costs.
"""

import datetime as dt
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.random import Generator

from research_lib.checks import ArrayLike, Float, number, same_labels
from research_lib.config import Json, Record
from research_lib.errors import InsufficientDataError, ModelFittingError, ValidationError
from research_lib.execution import PortfolioSchedule, almgren_chriss, least_value_at_risk
from research_lib.execution.portfolio import portfolio_schedule, price_portfolio
from research_lib.impact import fit_impact, slippage_curves
from research_lib.market import BookSnapshots, Session, preset, returns_before, summarise
from research_lib.transient import calibrate_almgren_chriss

Row = tuple[Any, ...]
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

    def singles(self, session: Session) -> dict[str, dict[str, Any]]:
        """The arguments of `almgren_chriss`, asset by asset, without permanent impact."""
        rows = self.table[["volatility", "temporary", "half_spread"]].astype(float)
        return rows.assign(interval=1.0 / session.n_intervals).to_dict("index")

    def amounts(self, orders: ArrayLike) -> pd.Series:
        """Orders (m,), shares, by the assets' names."""
        names = self.table.index
        return pd.Series(np.asarray(same_labels("orders", orders, names), float), names)

    def in_bps(self, orders: ArrayLike, session: Session) -> pd.DataFrame:
        """The assets beside their orders, (m,) shares: prices and impact of the mean child order
        in bps of the price.
        """
        n, known, price = session.n_intervals, self.table, self.table["price"]
        amounts = self.amounts(orders)
        child = amounts.abs() / n
        columns = {"price": price, "order_shares": amounts, "mean_child_shares": child}
        columns |= {f"{k}_bps": 1e4 * known[k] / price for k in ("volatility", "half_spread")}
        columns["its_impact_bps"] = 1e4 * known["temporary"] * n * child / price
        columns["order_%_of_volume"] = 100.0 * child * n / known["daily_volume"]
        return pd.DataFrame(columns, known.index)


def synthetic_assets(
    presets: Sequence[str], order_values: ArrayLike, session: Session, *,
    correlation: float, n_days: int, correlation_days: int, rng: Generator,
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


def _table(rows: Mapping[str, Row]) -> pd.DataFrame:
    return pd.DataFrame.from_dict(rows, orient="index", columns=COLUMNS)


def _measured(name: str, value: float, session: Session, n_days: int, rng: Generator) -> Row:
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
        raise InsufficientDataError(f"{lacks}; lower order_values or raise n_days") from error
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
    within = pd.DataFrame({k: t["close"] / t["open"] - 1.0 for k, t in bars.items()}).loc[window]
    if still := ", ".join(within.columns[np.ptp(within, axis=0) == 0]):
        what = f"never moved from open to close on {correlation_days} days"
        raise ValidationError(f"{still} {what}: raise correlation_days, or leave it out")
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


def ways_to_trade(
    assets: Assets, orders: ArrayLike, session: Session, risk_aversion: float
) -> dict[str, PortfolioSchedule]:
    """The same orders traded in three ways, all priced with one covariance.

    Parameters
    ----------
    orders : (m,) shares
        Positive is sold; a Series is aligned with the assets by its labels.
    risk_aversion : per currency

    Returns
    -------
    dict
        TWAP: equal child orders; asset by asset: each by its own Almgren-Chriss optimum, blind to
        the others; portfolio: least cost plus risk of all together.

    Examples
    --------
    >>> table = {"volatility": [1.0, 2.0], "temporary": [1e-6, 2e-6], "half_spread": 0.01}
    >>> pair = Assets(pd.DataFrame(table, ["A", "B"]), np.eye(2) + 0.5 * np.eye(2)[::-1], "", 60)
    >>> ways = ways_to_trade(pair, [1e5, -1e5], Session(5), 1e-5)
    >>> cost_table(ways, 1e7, 1e-5)["cost_plus_risk_bps"].idxmin()
    'portfolio'
    """
    amounts, n, market = assets.amounts(orders), session.n_intervals, assets.market(session)
    pairs = zip(amounts, assets.singles(session).values(), strict=True)
    alone = [almgren_chriss(x, n, risk_aversion=risk_aversion, **one).shares for x, one in pairs]
    return {
        "TWAP": price_portfolio(np.tile(amounts / n, (n, 1)), **market),
        "asset by asset": price_portfolio(np.column_stack(alone), **market),
        "portfolio": portfolio_schedule(amounts, n, risk_aversion=risk_aversion, **market),
    }


def cost_table(
    schedules: Mapping[str, PortfolioSchedule], gross: float, risk_aversion: float,
    confidence: float = 0.95,
) -> pd.DataFrame:  # fmt: skip
    """Parts of the expected cost, its deviation and cost plus risk, in bps of the gross value.

    Parameters
    ----------
    gross : currency
        The orders' absolute values at arrival, added up.
    risk_aversion : per currency
    confidence : float
        The cost is not above the value at risk with this probability.

    Returns
    -------
    DataFrame, a row a schedule
        spread_bps + impact_bps + permanent_bps = cost_bps; deviation_bps; VaR_bps;
        cost_plus_risk_bps, with the risk aversion times the variance; beyond_spread_bps, the same
        less the half-spreads of the orders, which no schedule avoids.

    Examples
    --------
    >>> even = price_portfolio([[100], [100]], covariance=[[4.0]], temporary=[0.01])
    >>> row = cost_table({"TWAP": even}, 1e5, 1e-3).loc["TWAP"]
    >>> row[["cost_bps", "deviation_bps", "cost_plus_risk_bps"]].tolist()
    [20.0, 20.0, 24.0]
    """
    rows = {}
    for name, s in schedules.items():
        spread, sizes = s.attribution["spread"].to_numpy(), np.abs(s.shares).sum(axis=0)
        objective = s.expected_cost + risk_aversion * s.variance
        paid = np.divide(spread, sizes, out=np.zeros(len(sizes)), where=sizes > 0)
        parts = spread.sum(), *s.attribution[["temporary", "permanent"]].sum()
        costs = s.expected_cost, s.variance**0.5, s.value_at_risk(confidence), objective
        rows[name] = [*parts, *costs, objective - np.abs(s.holdings[0]) @ paid]
    columns = ["spread", "impact", "permanent", "cost", "deviation", "VaR", "cost_plus_risk"]
    labels = [f"{name}_bps" for name in [*columns, "beyond_spread"]]
    return 1e4 / gross * pd.DataFrame.from_dict(rows, orient="index", columns=labels)


def single_table(
    assets: Assets, orders: ArrayLike, session: Session, risk_aversion: float, confidence: float
) -> pd.DataFrame:
    """Each asset's own Almgren-Chriss optimum, in bps of its own order.

    Returns
    -------
    DataFrame, a row an asset
        half_life_%, theta_%: ln 2 / kappa and 1 / kappa, per cent of the session; cost_bps,
        deviation_bps, VaR_bps; L_VaR_bps, the least value at risk of any schedule, and
        L_VaR_risk_aversion, per currency, where it lies.

    Examples
    --------
    >>> table = {"price": 50.0, "volatility": [1.0], "temporary": [1e-6], "half_spread": 0.01}
    >>> one = Assets(pd.DataFrame(table, ["A"]), np.eye(1), "by hand", 60)
    >>> row = single_table(one, [1e5], Session(5), 1e-5, 0.95).loc["A"]
    >>> bool(row["L_VaR_bps"] < row["VaR_bps"])
    True
    """
    amounts, price, n = assets.amounts(orders), assets.table["price"], session.n_intervals
    rows = {}
    for name, one in assets.singles(session).items():
        x = amounts[name]
        best = almgren_chriss(x, n, risk_aversion=risk_aversion, **one)
        least, aversion = least_value_at_risk(x, n, confidence, **one)
        at_risk, in_bps = least.value_at_risk(confidence), 1e4 / abs(x * price[name])
        costs = best.expected_cost, best.variance**0.5, best.value_at_risk(confidence), at_risk
        times = 100 * best.half_life, 100 * best.theta
        rows[name] = [*times, *(in_bps * cost for cost in costs), aversion]
    columns = ["half_life_%", "theta_%", "cost_bps", "deviation_bps", "VaR_bps", "L_VaR_bps"]
    columns += ["L_VaR_risk_aversion"]
    return pd.DataFrame.from_dict(rows, orient="index", columns=columns)


def risk_aversion_table(
    assets: Assets, orders: ArrayLike, session: Session, risk_aversions: Sequence[float]
) -> pd.DataFrame:
    """The portfolio schedule against the other ways to trade, at several risk aversions.

    Returns
    -------
    DataFrame, a row a risk aversion (per currency, as text)
        In bps of the gross value: cost_bps and deviation_bps of the portfolio schedule, and its
        cost and its cost plus risk minus those of the other ways.

    Examples
    --------
    >>> table = {"price": 50.0, "volatility": [1.0], "temporary": [1e-6], "half_spread": 0.01}
    >>> one = Assets(pd.DataFrame(table, ["A"]), np.eye(1), "by hand", 60)
    >>> found = risk_aversion_table(one, [1e5], Session(5), [0.0, 1e-5])
    >>> bool(found.loc["1e-05", "cost_minus_TWAP_bps"] > found.loc["0", "cost_minus_TWAP_bps"])
    True
    """
    gross = float(assets.amounts(orders).abs() @ assets.table["price"])
    rows: dict[str, dict[str, float]] = {}
    for risk in risk_aversions:
        costs = cost_table(ways_to_trade(assets, orders, session, risk), gross, risk)
        row = rows[f"{risk:g}"] = costs.loc["portfolio", ["cost_bps", "deviation_bps"]].to_dict()
        for what in ("cost", "cost_plus_risk"):
            gaps = costs.loc["portfolio", f"{what}_bps"] - costs[f"{what}_bps"].drop("portfolio")
            row |= {f"{what}_minus_{way}_bps": gap for way, gap in gaps.items()}
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("risk_aversion")


def attribution_table(schedule: PortfolioSchedule, assets: Assets, gross: float) -> pd.DataFrame:
    """Which asset pays the cost of a portfolio schedule, and which bears its risk.

    Returns
    -------
    DataFrame, a row an asset
        spread_bps, impact_bps of the gross value; cost_% and variance_%, the asset's shares, those
        of variance by covariance with the whole, below 0 for a hedge; variance_alone_%, of the same
        trades if the asset were alone, in per cent of the portfolio's.

    Examples
    --------
    >>> table = {"price": 50.0, "volatility": [1.0, 1.0], "temporary": 1e-6, "half_spread": 0.01}
    >>> pair = Assets(pd.DataFrame(table, ["A", "B"]), np.eye(2), "by hand", 60)
    >>> best = ways_to_trade(pair, [1e5, -1e5], Session(5), 1e-5)["portfolio"]
    >>> attribution_table(best, pair, 1e7)["variance_alone_%"].round().tolist()
    [50.0, 50.0]
    """
    parts = schedule.attribution.set_axis(assets.table.index)
    held = np.sum(schedule.holdings[1:] ** 2, axis=0) / len(schedule.shares)
    table = 1e4 / gross * parts[["spread", "temporary"]]
    table.columns = pd.Index(["spread_bps", "impact_bps"])
    for what in ("cost", "variance"):
        table[f"{what}_%"] = 100.0 * parts[what] / parts[what].sum()
    alone = 100.0 * held * assets.table["volatility"] ** 2
    return table.assign(**{"variance_alone_%": alone / parts["variance"].sum()})


def assumed_permanent(
    temporary: ArrayLike, correlation: Float, share: float, cross: float, asymmetry: float
) -> Float:
    r"""Permanent impact by assumption, (m, m), as no day of one stock shows it.

    .. math:: \Gamma_{ii} = s \beta_i, \qquad \Gamma_{ij} = c \rho_{ij}
              \sqrt{\Gamma_{ii} \Gamma_{jj}} \, (1 \pm a)

    Parameters
    ----------
    temporary : (m,) currency per share**2
        beta, the slope of each asset's own walk.
    share, cross, asymmetry : s, c, a
        The answer of an earlier asset to a later one is the larger of a pair (plus).

    Examples
    --------
    >>> assumed_permanent([1.0, 4.0], np.full((2, 2), 0.5), 0.1, 1.0, 0.5).round(2).tolist()
    [[0.1, 0.15], [0.05, 0.4]]
    """
    own = share * np.asarray(temporary, float)
    at = np.arange(len(own))
    lean = 1.0 + asymmetry * np.sign(at[None, :] - at[:, None])
    gamma: Float = cross * correlation * np.sqrt(np.outer(own, own)) * lean
    np.fill_diagonal(gamma, own)
    return gamma


def correlation_regret(
    orders: ArrayLike, n_intervals: int, correlation: ArrayLike, market: Json,
    days: Sequence[int], rng: Generator, draws: int = 100,
) -> pd.DataFrame:  # fmt: skip
    r"""What a correlation estimated over few days costs, where returns are normal and it stays.

    Volatilities are taken as known. The sample correlation of T + 1 days is drawn from the Wishart
    law about the truth, with T degrees of freedom; the schedule made with it is priced with the
    truth:

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
        mean, median, upper (95 % quantile) of the regret, per cent; shrunk_mean, the mean of plans
        made with the same estimates after `ledoit_wolf`.

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
    names = next((one.axes[-1] for one in given.values() if hasattr(one, "axes")), None)
    known = {name: same_labels(name, value, names) for name, value in given.items()}
    known = {k: v.to_numpy() if hasattr(v, "to_numpy") else v for k, v in known.items()}
    amounts, truth = (np.asarray(known.pop(k), float) for k in ("orders", "correlation"))
    if min(days) < len(truth):
        raise ValidationError(f"days must be at least {len(truth)}, one an asset, got {min(days)}")
    regret = _regret(amounts, n_intervals, known, truth)
    own = rng.spawn(1)[0]
    table: dict[str, list[Any]] = {}
    for span in days:
        drawn = stats.wishart(span, truth / span).rvs(draws, random_state=rng)
        drawn = drawn.reshape(draws, *truth.shape)  # one draw comes without its axis
        plain = [regret(_scaled(one)) for one in drawn]
        shrunk = [regret(_scaled(ledoit_wolf(_returns(one, span, own))[0])) for one in drawn]
        upper = np.quantile(plain, 0.95)
        table[str(span)] = [np.mean(plain), np.median(plain), upper, np.mean(shrunk)]
    table["none"] = [regret(np.eye(len(truth)))] * 4
    columns = ["mean", "median", "upper", "shrunk_mean"]
    return pd.DataFrame(table, index=columns).T.rename_axis("days")


def _scaled(covariance: Float) -> Float:
    deviation = np.sqrt(np.diag(covariance))
    return np.asarray(covariance / np.outer(deviation, deviation))


def _returns(sample: Float, days: int, rng: Generator) -> Float:
    """Normal returns of days + 1 days, drawn given that their sample covariance is this one: it
    says all that they say of the truth, and directions are uniform (Mezzadri 2007, Notices AMS 54).
    """
    noise = rng.normal(size=(days + 1, len(sample)))
    q, r = np.linalg.qr(np.column_stack([np.ones(days + 1), noise]))
    directions = (q * np.sign(np.diag(r)))[:, 1:]  # at right angles to the mean
    return np.asarray(np.sqrt(days) * directions @ np.linalg.cholesky(sample).T)


def _regret(orders: Float, n: int, market: Json, truth: Float) -> Callable[[Float], float]:
    """Cost plus risk of a plan made with a believed correlation above the best, per cent."""
    deviation = np.sqrt(np.diag(np.asarray(market["covariance"], float)))
    scale = np.outer(deviation, deviation)
    prices = {name: value for name, value in market.items() if name != "risk_aversion"}

    def objective(believed: Float) -> float:
        plan = portfolio_schedule(orders, n, **{**market, "covariance": believed * scale})
        priced = price_portfolio(plan.shares, **{**prices, "covariance": truth * scale})
        return priced.expected_cost + market["risk_aversion"] * priced.variance

    best = objective(truth)
    return lambda believed: 100.0 * (objective(believed) / best - 1.0)
