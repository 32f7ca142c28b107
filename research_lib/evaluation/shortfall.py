"""Implementation shortfall of an order, by its parts."""

from dataclasses import dataclass

import pandas as pd

from research_lib.checks import number, require_columns, require_numbers
from research_lib.config import Record
from research_lib.errors import ValidationError
from research_lib.evaluation.executions import ROUNDING
from research_lib.market.book import side_sign

PARTS = ("delay", "trading", "opportunity", "fees", "total")


@dataclass(frozen=True)
class Shortfall(Record):
    """Cost of an order against the decision price, by parts. Currency; positive is bad.

    Attributes
    ----------
    side : str
    total_shares, filled, unfilled : float
    decision_price, average_price : float
        Currency per share; `average_price` is NaN where nothing is filled.
    delay : float
        From decision to arrival, on filled shares.
    trading : float
        From arrival to the fills.
    opportunity : float
        From decision to close, on unfilled shares.
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
    fills: pd.DataFrame, *, side: str, total_shares: float,
    decision_price: float, arrival_price: float, closing_price: float, fees: float = 0.0,
) -> Shortfall:  # fmt: skip
    r"""Implementation shortfall: the paper portfolio's gain less the real one's.

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
        S, the order, above 0 and at least as much as was filled.
    decision_price, arrival_price, closing_price : float
        P_d, P_a, P_c, above 0, currency per share: at the decision, at arrival at the desk, and for
        the valuation of unfilled shares.
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
    sign, total = side_sign(side), number("total_shares", total_shares, above=0)
    decided = number("decision_price", decision_price, above=0)
    arrived = number("arrival_price", arrival_price, above=0)
    closed = number("closing_price", closing_price, above=0)
    if not isinstance(fills, pd.DataFrame) or len(fills):  # no row: nothing was filled
        require_columns(fills, ("shares", "price"), "fills")
        require_numbers(fills, ("shares", "price"), above=0)
    fills = fills.reindex(columns=["shares", "price"])
    shares, price = fills["shares"].to_numpy(float), fills["price"].to_numpy(float)
    filled = float(shares.sum())
    if filled > total * (1 + ROUNDING):
        found = f"{filled:,.6g} shares are filled of an order of {total:,.6g}"
        raise ValidationError(f"{found}; give the whole order")
    unfilled, delay = max(total - filled, 0.0), sign * (arrived - decided) * filled
    trading = sign * float(shares @ (price - arrived))
    opportunity, charged = sign * (closed - decided) * unfilled, number("fees", fees)
    parts = (delay, trading, opportunity, charged, delay + trading + opportunity + charged)
    average = float(shares @ price) / filled if filled > 0 else float("nan")
    return Shortfall(side, total, filled, unfilled, decided, average, *parts)
