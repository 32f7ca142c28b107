"""Whether it worked: schedules replayed on recorded books."""

from research_lib.evaluation.replay import Execution, replay

__all__ = ["Execution", "replay"]
