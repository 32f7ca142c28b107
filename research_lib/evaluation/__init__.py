"""Whether it worked: schedules replayed on recorded books, the bound, and honest intervals."""

# ruff: noqa: I001  (several names a line)
# fmt: off
from research_lib.evaluation.adaptive import Adaptive
from research_lib.evaluation.forecast import (
    Forecast, LiquidityProfile, PriorShape, TiltedShape, TodayShape, decaying, forecast_scores,
    mid_volatility, observed, rolling,
)
from research_lib.evaluation.inference import (
    compare, compare_groups, days_to_detect, losses, pair, panel, saving_interval, size_label,
    superior_ability,
)
from research_lib.evaluation.ladder import Ladder, sample_states
from research_lib.evaluation.optimism import decompose_saving, null_savings
from research_lib.evaluation.protocol import (
    Known, Prior, evaluate, expected_curve, known_before, standard_strategies, walk_forward,
)
from research_lib.evaluation.replay import Execution, clairvoyant, foresight_share, replay
from research_lib.evaluation.shortfall import (
    Shortfall, implementation_shortfall, tca_table, vwap_slippage,
)
from research_lib.evaluation.strategies import (
    Order, Pov, Scheduled, StaticOptimal, Strategy, Twap, Vwap, run,
)

__all__ = [
    "Adaptive", "Execution", "Forecast", "Known", "Ladder", "LiquidityProfile", "Order", "Pov",
    "Prior", "PriorShape", "Scheduled", "Shortfall", "StaticOptimal", "Strategy", "TiltedShape",
    "TodayShape", "Twap", "Vwap", "clairvoyant", "compare", "compare_groups", "days_to_detect",
    "decaying", "decompose_saving", "evaluate", "expected_curve", "forecast_scores",
    "foresight_share", "implementation_shortfall", "known_before", "losses", "mid_volatility",
    "null_savings", "observed", "pair", "panel", "replay", "rolling", "run", "sample_states",
    "saving_interval", "size_label", "standard_strategies", "superior_ability", "tca_table",
    "vwap_slippage", "walk_forward",
]
