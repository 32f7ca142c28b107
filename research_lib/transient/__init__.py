"""How impact decays: signed flow, propagators, kernel fits, recovery of the book, price paths."""

# ruff: noqa: I001

from research_lib.transient.flow import (
    LagEstimate, SignedFlow, clock_flow, flow_autocorrelation, propagator, propagators_by_event,
    response_function, trade_flow,
)  # fmt: skip
from research_lib.transient.kernel_fit import FAMILIES, KernelFit, best_kernel, fit_kernel
from research_lib.transient.calibration import (
    BlockBook, calibrate_almgren_chriss, fit_block_book, recovery_after_trades,
)  # fmt: skip
from research_lib.transient.price_path import PricePath, TransientMarket, price_path

__all__ = [
    "FAMILIES", "BlockBook", "KernelFit", "LagEstimate", "PricePath",
    "SignedFlow", "TransientMarket", "best_kernel", "calibrate_almgren_chriss", "clock_flow",
    "fit_block_book", "fit_kernel", "flow_autocorrelation", "price_path", "propagator",
    "propagators_by_event", "recovery_after_trades", "response_function", "trade_flow",
]  # fmt: skip
