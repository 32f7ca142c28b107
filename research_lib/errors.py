"""Every failure a user can meet, by what to do about it.

Messages name the thing, its value, the limit and the remedy, on one line.
"""

from __future__ import annotations


class ResearchError(Exception):
    """Base of all errors raised on purpose by this library."""


class ValidationError(ResearchError, ValueError):
    """Input, setting or parameter that cannot be used as it is."""


class MissingDataError(ValidationError, FileNotFoundError):
    """A data file that is not where the configuration says."""


class NoBooksError(ValidationError):
    """Data without one usable book inside the session."""


class InsufficientDataError(ValidationError):
    """Sound data that do not suffice for what is asked of them: too few days or books, too thin, on no price grid."""


class MemoryLimitError(ValidationError, MemoryError):
    """Work refused before it starts because it would exceed `memory_limit_mb`."""


class ModelFittingError(ResearchError, RuntimeError):
    """Observations that do not determine the impact curve asked for."""


class OptimizationError(ResearchError, RuntimeError):
    """No admissible schedule exists, or none could be certified."""
