"""Implementation shortfall and transaction cost analysis: where the money of an order went."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from research_lib.checks import number, require_columns, require_numbers
from research_lib.config import Record
from research_lib.errors import ValidationError
from research_lib.evaluation.replay import ROUNDING, Execution
from research_lib.market import Session, Trades
from research_lib.market.book import side_sign

Float = NDArray[np.float64]
PARTS = ("delay", "trading", "opportunity", "fees", "total")


@dataclass(frozen=True)
class Shortfall(Record):
    """What an order cost against deciding and being done at once. Currency, positive where bad.

    Attributes
    ----------
    side : str
    total_shares, filled, unfilled : float
    decision_price, average_price : float
        Currency per share; `average_price` is NaN where nothing is filled.
    delay : float
        From decision to arrival, on what was filled.
    trading : float
        From arrival to the fills.
    opportunity : float
        From decision to close, on what was not filled.
    fees : float
    total : float
        delay + trading + opportunity + fees.

    Examples
    --------
    >>> Shortfall("buy", 100.0, 80.0, 20.0, 50.0, 50.5, 8.0, 32.0, 20.0, 4.0, 64.0).bps["total"]
    128.0
    """

    side: str
    total_shares: float
    filled: float
    unfilled: float
    decision_price: float
    average_price: float
    delay: float
    trading: float
    opportunity: float
    fees: float
    total: float

    @property
    def bps(self) -> dict[str, float]:
        """Each part in bps of total_shares * decision_price."""
        paper = self.total_shares * self.decision_price
        return {name: 1e4 * self[name] / paper for name in PARTS}

    def to_frame(self) -> pd.DataFrame:
        """One row a part: currency, and bps of the order at the decision price."""
        currency = {name: self[name] for name in PARTS}
        return pd.DataFrame({"currency": currency, "bps": self.bps}).rename_axis("part")


def implementation_shortfall(
    fills: pd.DataFrame,
    *,
    side: str,
    total_shares: float,
    decision_price: float,
    arrival_price: float,
    closing_price: float,
    fees: float = 0.0,
) -> Shortfall:
    r"""The paper portfolio's gain less the real one's.

    .. math::
        IS = \epsilon \Big( \underbrace{(P_a - P_d) \sum_i x_i}_{delay}
            + \underbrace{\sum_i x_i (p_i - P_a)}_{trading}
            + \underbrace{(P_c - P_d) \big(S - \sum_i x_i\big)}_{opportunity} \Big) + fees,

    with epsilon 1 for a buy and -1 for a sell.

    Parameters
    ----------
    fills : DataFrame
        Columns shares and price, each above 0; no row where nothing was filled.
    side : "buy" or "sell"
    total_shares : float
        S, the order, above 0 and at least what was filled.
    decision_price, arrival_price, closing_price : float
        P_d, P_a, P_c, above 0, currency per share: when the order was decided, when it
        reached the desk, when what is left is valued.
    fees : float
        Currency; negative for a rebate.

    Raises
    ------
    ValidationError
        Naming the column and row, or the parameter, its value and its limit.

    References
    ----------
    Perold, A. F. (1988), "The implementation shortfall: paper versus reality", Journal of
    Portfolio Management 14(3), 4-9; its parts after Wagner and Edwards (1993).

    Examples
    --------
    1,000 to buy at 50: 800 filled on average at 50.40 after arriving at 50.20, the rest left at 51.

    >>> fills = pd.DataFrame({"shares": [500.0, 300.0], "price": [50.3, 50.6]})
    >>> prices = {"decision_price": 50.0, "arrival_price": 50.2, "closing_price": 51.0}
    >>> done = implementation_shortfall(fills, side="buy", total_shares=1_000, **prices)
    >>> {part: round(bps, 6) for part, bps in done.bps.items()}
    {'delay': 32.0, 'trading': 34.0, 'opportunity': 40.0, 'fees': 0.0, 'total': 106.0}
    """
    sign = side_sign(side)
    total = number("total_shares", total_shares, above=0)
    decided = number("decision_price", decision_price, above=0)
    arrived = number("arrival_price", arrival_price, above=0)
    closed = number("closing_price", closing_price, above=0)
    shares, price = _checked_fills(fills)
    filled = float(shares.sum())
    if filled > total * (1 + ROUNDING):
        raise ValidationError(
            f"{filled:,.6g} shares are filled of an order of {total:,.6g}; give the whole order"
        )
    unfilled = max(total - filled, 0.0)
    delay = sign * (arrived - decided) * filled
    trading = sign * float(shares @ (price - arrived))
    opportunity = sign * (closed - decided) * unfilled
    charged = number("fees", fees)
    average = float(shares @ price) / filled if filled > 0 else float("nan")
    return Shortfall(
        side, total, filled, unfilled, decided, average, delay, trading, opportunity, charged,
        delay + trading + opportunity + charged,
    )  # fmt: skip


def vwap_slippage(fills: pd.DataFrame, market: Trades, side: str) -> float:
    """Average fill beyond the market's volume-weighted average price, bps of it.

    Cost positive; NaN without fills or trades.

    Parameters
    ----------
    fills : DataFrame
        Columns shares and price.
    market : Trades
        Of the order's own time.
    side : "buy" or "sell"

    Examples
    --------
    >>> market = Trades([10**18, 2 * 10**18], [100.0, 102.0], [300.0, 100.0], [1, -1])
    >>> fills = pd.DataFrame({"shares": [10.0], "price": [101.0]})
    >>> round(vwap_slippage(fills, market, "buy"), 2)  # 101 against 100.50
    49.75
    """
    sign = side_sign(side)
    shares, price = _checked_fills(fills)
    if not len(market) or not shares.sum() > 0:
        return float("nan")
    vwap = float(market.size @ market.price / market.size.sum())
    return 1e4 * sign * (float(shares @ price / shares.sum()) - vwap) / vwap


def tca_table(
    executions: Iterable[Execution], trades: Trades | None = None, session: Session | None = None
) -> pd.DataFrame:
    """Transaction cost analysis, one row an order and strategy.

    Columns: strategy, day, start (UTC), side, total_shares, filled, unfilled, arrival_price,
    average_price; in bps of the filled shares at the arrival price: cost_bps (over each
    interval's mid) = spread_bps + impact_bps, drift_bps (how far the mid moved); in bps of
    the whole order: opportunity_bps, shortfall_bps (Perold's total, decided on arrival) and
    timing_risk_bps (standard deviation from the mid's moves, at the volatility of the
    order's own intervals); with `trades`, participation_% (of what the market traded in the
    order's intervals) and vwap_slippage_bps; fitted_on.

    Parameters
    ----------
    executions : iterable of Execution
    trades : Trades, optional
        The market's, of all the time of the executions.
    session : Session, optional
        Whose time zone says which day it is.

    Examples
    --------
    >>> from research_lib.evaluation import replay
    >>> from research_lib.market import BookSnapshots
    >>> time, size = [10**18, 2 * 10**18], [[20.0], [20.0]]
    >>> books = BookSnapshots(time, [[99.0], [98.0]], size, [[101.0], [102.0]], size)
    >>> table = tca_table([replay([10, 10], books, "buy")])
    >>> table[["cost_bps", "spread_bps", "impact_bps"]].iloc[0].tolist()
    [150.0, 150.0, 0.0]
    """
    rows = [_row(one, trades, session or Session()) for one in executions]
    if not rows:
        raise ValidationError("no executions to tabulate; give at least one")
    return pd.DataFrame(rows)


def _row(one: Execution, trades: Trades | None, session: Session) -> dict[str, object]:
    filled = float(one.filled.sum())
    per_filled, per_order = (
        1e4 / (shares * one.arrival_price) if shares > 0 else float("nan")
        for shares in (filled, one.total_shares)
    )
    fills = one.fills
    paid = float(fills["shares"] @ fills["price"])
    row: dict[str, object] = {
        "strategy": one.name,
        "day": session.days(one.time[:1])[0],
        "start": pd.Timestamp(one.time[0], unit="ns", tz="UTC"),
        "side": one.side,
        "total_shares": one.total_shares,
        "filled": filled,
        "unfilled": one.unfilled,
        "arrival_price": one.arrival_price,
        "average_price": paid / filled if filled > 0 else float("nan"),
        "cost_bps": per_filled * one.cost,
        "spread_bps": per_filled * one.spread_cost,
        "impact_bps": per_filled * one.touch_cost,
        "drift_bps": per_filled * (one.arrival_cost - one.cost),
        "opportunity_bps": per_order * one.opportunity_cost,
        "shortfall_bps": per_order * (one.arrival_cost + one.opportunity_cost),
        "timing_risk_bps": per_order * one.timing_risk(),
    }
    if trades is not None:
        market = _during(trades, one)
        volume = float(market.size.sum())
        row["participation_%"] = 100.0 * filled / volume if volume > 0 else float("nan")
        row["vwap_slippage_bps"] = vwap_slippage(fills, market, one.side)
    return row | {"fitted_on": one.fitted_on}


def _during(trades: Trades, one: Execution) -> Trades:
    """Trades of the order's intervals; the last one is as long as the one before it."""
    last = max(one.time[-1] - one.time[-2], 1) if len(one.time) > 1 else 1
    return trades.take((trades.time >= one.time[0]) & (trades.time < one.time[-1] + last))


def _checked_fills(fills: pd.DataFrame) -> tuple[Float, Float]:
    if isinstance(fills, pd.DataFrame) and not len(fills):
        return np.zeros(0), np.zeros(0)
    require_columns(fills, ("shares", "price"), "fills")
    require_numbers(fills, ("shares", "price"), above=0)
    return fills["shares"].to_numpy(float), fills["price"].to_numpy(float)
