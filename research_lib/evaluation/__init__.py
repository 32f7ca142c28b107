"""Whether it worked: schedules replayed on recorded books, the bound, and honest intervals."""

# isort: skip_file

from research_lib.evaluation.adaptive import Adaptive, LiquidityProfile, TiltedShape
from research_lib.evaluation.adaptive import decaying, mid_volatility
from research_lib.evaluation.inference import compare, pair, saving_interval
from research_lib.evaluation.protocol import Known, Prior, evaluate, known_before
from research_lib.evaluation.protocol import standard_strategies, walk_forward
from research_lib.evaluation.replay import Execution, Ladder, clairvoyant, replay, sample_states
from research_lib.evaluation.shortfall import Shortfall, implementation_shortfall
from research_lib.evaluation.strategies import Order, Pov, Scheduled, StaticOptimal, Strategy
from research_lib.evaluation.strategies import Twap, Vwap, run

__all__ = [
    "Adaptive", "Execution", "Known", "Ladder", "LiquidityProfile", "Order", "Pov", "Prior",
    "Scheduled", "Shortfall", "StaticOptimal", "Strategy", "TiltedShape", "Twap", "Vwap",
    "clairvoyant", "compare", "decaying", "evaluate", "implementation_shortfall", "known_before",
    "mid_volatility", "pair", "replay", "run", "sample_states", "saving_interval",
    "standard_strategies", "walk_forward",
]  # fmt: skip
