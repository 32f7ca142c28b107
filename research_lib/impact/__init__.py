"""What trading costs: the walk, the curves, the fit, and their facade."""

from research_lib.impact.arrival_price import ArrivalPriceParameters, calibrate_almgren_chriss
from research_lib.impact.assets import cross_impact, permanent_response, quoted_assets, synthetic_assets
from research_lib.impact.composite import CompositeImpact
from research_lib.impact.curves import (
    AlmgrenImpact,
    ImpactCurve,
    LinearImpact,
    OBJECTIVES,
    PowerImpact,
    QuadraticImpact,
    is_cost,
    recut,
    square_root_impact,
)
from research_lib.impact.diagnostics import residual_bias, residual_rows, residual_tests
from research_lib.impact.displacement import PricePath, price_path
from research_lib.impact.distributed import moments_of_store
from research_lib.impact.fit_result import ImpactFit
from research_lib.impact.fitting import fit_forms, fit_impact
from research_lib.impact.flow import SignedFlow, clock_flow, trade_flow
from research_lib.impact.kernel_fit import KernelFit, best_kernel, fit_kernel
from research_lib.impact.manipulation import KernelCheck, check_kernel
from research_lib.impact.moments import ImpactMoments, moments_of_books
from research_lib.impact.piecewise import PiecewiseLinearImpact
from research_lib.impact.pooling import pool_fits, pool_shapes
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
from research_lib.impact.shrinkage import shrink
from research_lib.impact.slippage import SlippageCurves, slippage_curves
from research_lib.impact.stability import buy_against_sell, coefficient_stability, impact_level, influence_by_day
from research_lib.impact.totals import SeparableTotal, polynomial_total
from research_lib.impact.transient import (
    DecayKernel,
    ExponentialKernel,
    ExponentialSumKernel,
    GaussianKernel,
    Kernel,
    PowerKernel,
    TabulatedKernel,
    at_lags,
    kernel_matrix,
    trade_times,
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
    "DecayKernel",
    "ExponentialKernel",
    "ExponentialSumKernel",
    "GaussianKernel",
    "ImpactCurve",
    "ImpactFit",
    "ImpactMoments",
    "Kernel",
    "KernelCheck",
    "KernelFit",
    "LinearImpact",
    "OBJECTIVES",
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
    "at_lags",
    "best_kernel",
    "buy_against_sell",
    "calibrate_almgren_chriss",
    "check_kernel",
    "clock_flow",
    "coefficient_stability",
    "cross_impact",
    "cross_validate",
    "depends_on_window",
    "fit_block_book",
    "fit_forms",
    "fit_impact",
    "fit_kernel",
    "flow_autocorrelation",
    "impact_level",
    "implied_response",
    "influence_by_day",
    "is_cost",
    "kernel_matrix",
    "moments_of_books",
    "moments_of_store",
    "order_flow_imbalance",
    "permanent_response",
    "polynomial_total",
    "pool_fits",
    "pool_shapes",
    "price_path",
    "propagator",
    "propagators_by_event",
    "quoted_assets",
    "recovery_after_trades",
    "recovery_windows",
    "recut",
    "residual_bias",
    "residual_rows",
    "residual_tests",
    "response_function",
    "shrink",
    "simulate_mids",
    "slippage_curves",
    "square_root_impact",
    "synthetic_assets",
    "trade_flow",
    "trade_times",
    "walk_book",
]
