"""What trading costs: the walk, the curves, the fit, and their facade."""

from research_lib.impact.composite import CompositeImpact
from research_lib.impact.curves import (
    OBJECTIVES,
    AlmgrenImpact,
    ImpactCurve,
    LinearImpact,
    PowerImpact,
    QuadraticImpact,
    is_cost,
    recut,
    square_root_impact,
)
from research_lib.impact.diagnostics import residual_bias, residual_rows, residual_tests
from research_lib.impact.distributed import moments_of_store
from research_lib.impact.fit_result import ImpactFit
from research_lib.impact.fitting import fit_forms, fit_impact
from research_lib.impact.kernel_check import KernelCheck, check_kernel
from research_lib.impact.kernels import (
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
from research_lib.impact.moments import ImpactMoments, moments_of_books
from research_lib.impact.piecewise import PiecewiseLinearImpact
from research_lib.impact.pooling import pool_fits, pool_shapes
from research_lib.impact.shrinkage import shrink
from research_lib.impact.slippage import SlippageCurves, slippage_curves
from research_lib.impact.stability import (
    buy_against_sell,
    coefficient_stability,
    impact_level,
    influence_by_day,
)
from research_lib.impact.totals import SeparableTotal, polynomial_total
from research_lib.impact.validation import cross_validate
from research_lib.impact.walk import walk_book
from research_lib.market.book import order_flow_imbalance

__all__ = [
    "OBJECTIVES",
    "AlmgrenImpact",
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
    "LinearImpact",
    "PiecewiseLinearImpact",
    "PowerImpact",
    "PowerKernel",
    "QuadraticImpact",
    "SeparableTotal",
    "SlippageCurves",
    "TabulatedKernel",
    "at_lags",
    "buy_against_sell",
    "check_kernel",
    "coefficient_stability",
    "cross_validate",
    "fit_forms",
    "fit_impact",
    "impact_level",
    "influence_by_day",
    "is_cost",
    "kernel_matrix",
    "moments_of_books",
    "moments_of_store",
    "order_flow_imbalance",
    "polynomial_total",
    "pool_fits",
    "pool_shapes",
    "recut",
    "residual_bias",
    "residual_rows",
    "residual_tests",
    "shrink",
    "slippage_curves",
    "square_root_impact",
    "trade_times",
    "walk_book",
]
