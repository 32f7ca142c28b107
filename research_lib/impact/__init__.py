"""What trading costs: the walk of a book, impact curves, decay kernels, and the fit."""
# ruff: noqa: I001

from research_lib.impact.curves import (
    AlmgrenImpact, CompositeImpact, ImpactCurve, LinearImpact, PiecewiseLinearImpact, PowerImpact,
    QuadraticImpact, square_root_impact,
)  # fmt: skip
from research_lib.impact.fit import ImpactFit, fit_forms, fit_impact
from research_lib.impact.kernels import (
    DecayKernel, ExponentialKernel, ExponentialSumKernel, GaussianKernel, Kernel, KernelCheck,
    PowerKernel, at_lags, check_kernel, kernel_matrix, trade_times,
)  # fmt: skip
from research_lib.impact.moments import ImpactMoments, moments_of_books, moments_of_store
from research_lib.impact.separable import SeparableTotal, polynomial_total
from research_lib.impact.shrinkage import shrink
from research_lib.impact.slippage import SlippageCurves, slippage_curves, walk_book
from research_lib.impact.validation import cross_validate, residual_rows, residual_tests
from research_lib.market.book import order_flow_imbalance

__all__ = [
    "AlmgrenImpact", "CompositeImpact", "DecayKernel", "ExponentialKernel",
    "ExponentialSumKernel", "GaussianKernel", "ImpactCurve", "ImpactFit", "ImpactMoments",
    "Kernel", "KernelCheck", "LinearImpact", "PiecewiseLinearImpact", "PowerImpact",
    "PowerKernel", "QuadraticImpact", "SeparableTotal", "SlippageCurves", "at_lags",
    "check_kernel", "cross_validate", "fit_forms", "fit_impact", "kernel_matrix",
    "moments_of_books", "moments_of_store", "order_flow_imbalance", "polynomial_total",
    "residual_rows", "residual_tests", "shrink", "slippage_curves", "square_root_impact",
    "trade_times", "walk_book",
]  # fmt: skip
