"""What trading costs: the walk, the curves, the fit, and their facade."""

from research_lib.impact.curves import ImpactCurve, LinearImpact, PolynomialTotal, QuadraticImpact
from research_lib.impact.fitting import ImpactFit, fit_impact
from research_lib.impact.model import ImpactModel
from research_lib.impact.slippage import SlippageCurves, slippage_curves, walk_book
from research_lib.market.microstructure import order_flow_imbalance

__all__ = [
    "ImpactCurve",
    "ImpactFit",
    "ImpactModel",
    "LinearImpact",
    "PolynomialTotal",
    "QuadraticImpact",
    "SlippageCurves",
    "fit_impact",
    "order_flow_imbalance",
    "slippage_curves",
    "walk_book",
]
