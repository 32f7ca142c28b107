"""What trading costs: the walk, the curves, the fit, and their facade."""

from research_lib.impact.arrival_price import ArrivalPriceParameters, calibrate_almgren_chriss
from research_lib.impact.composite import CompositeImpact
from research_lib.impact.curves import (
    AlmgrenImpact,
    ImpactCurve,
    LinearImpact,
    PowerImpact,
    QuadraticImpact,
    square_root_impact,
)
from research_lib.impact.diagnostics import residual_bias, residual_rows, residual_tests
from research_lib.impact.displacement import PricePath, price_path
from research_lib.impact.fit_result import ImpactFit
from research_lib.impact.fitting import fit_forms, fit_impact
from research_lib.impact.flow import SignedFlow, clock_flow, trade_flow
from research_lib.impact.kernel_fit import KernelFit, best_kernel, fit_kernel
from research_lib.impact.manipulation import KernelCheck, check_kernel
from research_lib.impact.model import ImpactModel
from research_lib.impact.moments import ImpactMoments
from research_lib.impact.piecewise import PiecewiseLinearImpact
from research_lib.impact.pooling import pool_fits
from research_lib.impact.propagator import (
    Propagator,
    flow_autocorrelation,
    implied_response,
    propagator,
    propagators_by_event,
    response_function,
    simulate_mids,
)
from research_lib.impact.recovery import (
    BlockBook,
    Recovery,
    depends_on_window,
    fit_block_book,
    recovery_after_trades,
    recovery_windows,
)
from research_lib.impact.slippage import SlippageCurves, slippage_curves
from research_lib.impact.stability import buy_against_sell, coefficient_stability, influence_by_day
from research_lib.impact.totals import SeparableTotal
from research_lib.impact.transient import (
    ExponentialKernel,
    ExponentialSumKernel,
    GaussianKernel,
    PowerKernel,
    TabulatedKernel,
    kernel_matrix,
)
from research_lib.impact.transient_market import TransientMarket
from research_lib.impact.validation import cross_validate
from research_lib.impact.walk import walk_book
from research_lib.market.microstructure import order_flow_imbalance

__all__ = [
    "AlmgrenImpact",
    "ArrivalPriceParameters",
    "BlockBook",
    "CompositeImpact",
    "ExponentialKernel",
    "ExponentialSumKernel",
    "GaussianKernel",
    "ImpactCurve",
    "ImpactFit",
    "ImpactModel",
    "ImpactMoments",
    "KernelCheck",
    "KernelFit",
    "LinearImpact",
    "PiecewiseLinearImpact",
    "PowerImpact",
    "PowerKernel",
    "PricePath",
    "Propagator",
    "QuadraticImpact",
    "Recovery",
    "SeparableTotal",
    "SignedFlow",
    "SlippageCurves",
    "TabulatedKernel",
    "TransientMarket",
    "best_kernel",
    "buy_against_sell",
    "calibrate_almgren_chriss",
    "check_kernel",
    "clock_flow",
    "coefficient_stability",
    "cross_validate",
    "depends_on_window",
    "fit_block_book",
    "fit_forms",
    "fit_impact",
    "fit_kernel",
    "flow_autocorrelation",
    "implied_response",
    "influence_by_day",
    "kernel_matrix",
    "order_flow_imbalance",
    "pool_fits",
    "price_path",
    "propagator",
    "propagators_by_event",
    "recovery_after_trades",
    "recovery_windows",
    "residual_bias",
    "residual_rows",
    "residual_tests",
    "response_function",
    "simulate_mids",
    "slippage_curves",
    "square_root_impact",
    "trade_flow",
    "walk_book",
]
