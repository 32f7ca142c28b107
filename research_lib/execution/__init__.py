"""When to trade: schedules and the exact allocation.

Shares of `allocate` are in the order's direction. Where they are signed, `almgren_chriss` and
`portfolio_schedule` count a sale as positive, `price_path` a purchase. Risk is a `covariance` an
interval in `allocate`, per time in `portfolio_schedule`, and a `volatility` per root of time in
`almgren_chriss` and `transient_schedule`.
"""
# ruff: noqa: I001

from research_lib.execution.allocate import Allocation, Allocations, allocate, allocate_many
from research_lib.execution.almgren_chriss import (
    ArrivalPriceSchedule, Frontier, almgren_chriss, efficient_frontier, least_value_at_risk,
)  # fmt: skip
from research_lib.execution.fallback import Attempt
from research_lib.execution.portfolio import PortfolioSchedule, portfolio_schedule, price_portfolio
from research_lib.execution.problem import share_caps
from research_lib.execution.schedules import Schedule, pov, twap, vwap
from research_lib.execution.transient import obizhaeva_wang, transient_schedule

__all__ = [
    "Allocation", "Allocations", "ArrivalPriceSchedule", "Attempt", "Frontier",
    "PortfolioSchedule", "Schedule", "allocate", "allocate_many", "almgren_chriss",
    "efficient_frontier", "least_value_at_risk", "obizhaeva_wang", "portfolio_schedule", "pov",
    "price_portfolio", "share_caps", "transient_schedule", "twap", "vwap",
]  # fmt: skip
