"""Whether it worked: schedules replayed on recorded books, the bound, and honest intervals."""

from research_lib.evaluation.bound import attainable_share, clairvoyant
from research_lib.evaluation.forecast import (
    Forecast,
    LiquidityProfile,
    PriorShape,
    TiltedShape,
    TodayShape,
    decaying,
    forecast_scores,
    mid_volatility,
    observed,
    rolling,
)
from research_lib.evaluation.inference import (
    compare,
    days_to_detect,
    losses,
    pair,
    saving_interval,
    superior_ability,
)
from research_lib.evaluation.ladder import Ladder
from research_lib.evaluation.orders import Order
from research_lib.evaluation.panel import compare_groups, panel, size_label
from research_lib.evaluation.phantom import decompose_saving, null_savings
from research_lib.evaluation.protocol import (
    Known,
    Prior,
    evaluate,
    expected_curve,
    known_before,
    standard_strategies,
    walk_forward,
)
from research_lib.evaluation.replay import Execution, replay
from research_lib.evaluation.shortfall import (
    Shortfall,
    implementation_shortfall,
    tca_table,
    vwap_slippage,
)
from research_lib.evaluation.strategies import (
    Adaptive,
    Pov,
    Scheduled,
    StaticOptimal,
    Strategy,
    Twap,
    Vwap,
    run,
)

__all__ = [
    "Adaptive",
    "Execution",
    "Forecast",
    "Known",
    "Ladder",
    "LiquidityProfile",
    "Order",
    "Pov",
    "Prior",
    "PriorShape",
    "Scheduled",
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
    "decaying",
    "decompose_saving",
    "evaluate",
    "expected_curve",
    "forecast_scores",
    "implementation_shortfall",
    "known_before",
    "losses",
    "mid_volatility",
    "null_savings",
    "observed",
    "pair",
    "panel",
    "replay",
    "rolling",
    "run",
    "saving_interval",
    "size_label",
    "standard_strategies",
    "superior_ability",
    "tca_table",
    "vwap_slippage",
    "walk_forward",
]
