"""How impact decays: signed flow, propagators, kernel fits, recovery of the book, price paths."""

# ruff: noqa: I001

from research_lib.transient.arrival_price import ArrivalPriceParameters, calibrate_almgren_chriss
from research_lib.transient.flow import SignedFlow, clock_flow, trade_flow
from research_lib.transient.kernel_fit import KernelFit, best_kernel, fit_kernel
from research_lib.transient.price_path import PricePath, TransientMarket, price_path
from research_lib.transient.propagator import (
    LagEstimate, Propagator, flow_autocorrelation, implied_response, propagator,
    propagators_by_event, response_function, simulate_mids,
)  # fmt: skip
from research_lib.transient.recovery import (
    BlockBook, Recovery, depends_on_window, fit_block_book, recovery_after_trades,
    recovery_windows,
)  # fmt: skip

__all__ = [
    "ArrivalPriceParameters", "BlockBook", "KernelFit", "LagEstimate", "PricePath", "Propagator",
    "Recovery", "SignedFlow", "TransientMarket", "best_kernel", "calibrate_almgren_chriss",
    "clock_flow", "depends_on_window", "fit_block_book", "fit_kernel", "flow_autocorrelation",
    "implied_response", "price_path", "propagator", "propagators_by_event",
    "recovery_after_trades", "recovery_windows", "response_function", "simulate_mids",
    "trade_flow",
]  # fmt: skip
