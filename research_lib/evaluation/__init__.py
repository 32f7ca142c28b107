"""Whether it worked: schedules replayed on recorded books, the bound, and honest intervals."""

from research_lib.evaluation.bound import attainable_share, clairvoyant
from research_lib.evaluation.dispersion import dispersion_needed, dispersion_table
from research_lib.evaluation.forecast import LiquidityProfile, PriorShape, TiltedShape, TodayShape, forecast_scores
from research_lib.evaluation.inference import compare, days_to_detect, losses, pair, superior_ability
from research_lib.evaluation.ladder import Ladder
from research_lib.evaluation.panel import compare_groups, panel, size_label
from research_lib.evaluation.phantom import decompose_saving, null_savings
from research_lib.evaluation.protocol import Known, Prior, evaluate, known_before, standard_strategies, walk_forward
from research_lib.evaluation.replay import Execution, replay
from research_lib.evaluation.shortfall import Shortfall, implementation_shortfall, tca_table
from research_lib.evaluation.strategies import Adaptive, Pov, StaticOptimal, Strategy, Twap, Vwap, run

__all__ = [
    "Adaptive",
    "Execution",
    "Known",
    "Ladder",
    "LiquidityProfile",
    "Pov",
    "Prior",
    "PriorShape",
    "Shortfall",
    "StaticOptimal",
    "Strategy",
    "TiltedShape",
    "TodayShape",
    "Twap",
    "Vwap",
    "attainable_share",
    "clairvoyant",
    "compare",
    "compare_groups",
    "days_to_detect",
    "decompose_saving",
    "dispersion_needed",
    "dispersion_table",
    "evaluate",
    "forecast_scores",
    "implementation_shortfall",
    "known_before",
    "losses",
    "null_savings",
    "pair",
    "panel",
    "replay",
    "run",
    "size_label",
    "standard_strategies",
    "superior_ability",
    "tca_table",
    "walk_forward",
]
