"""Whether it worked: schedules replayed on recorded books, the bound, and honest intervals."""

from research_lib.evaluation.bound import attainable_share, clairvoyant
from research_lib.evaluation.replay import Execution, replay
from research_lib.evaluation.strategies import run

__all__ = ["Execution", "attainable_share", "clairvoyant", "replay", "run"]
