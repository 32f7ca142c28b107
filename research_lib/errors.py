"""All errors a user can meet, by remedy.

Messages name the thing, its value, the limit and the remedy, on one line.
"""


class ResearchError(Exception):
    """Base of all errors raised on purpose by this library."""


class ValidationError(ResearchError, ValueError):
    """Input, setting or parameter that cannot be used as it is.

    >>> from research_lib.config import ModelConfig
    >>> ModelConfig(base_price=-1)
    Traceback (most recent call last):
    research_lib.errors.ValidationError: base_price must be above 0, got -1
    """


class MissingDataError(ValidationError, FileNotFoundError):
    """A data file that is not where the configuration says."""


class NoBooksError(ValidationError):
    """Data without one usable book inside the session."""


class InsufficientDataError(ValidationError):
    """Sound data that do not suffice: too few days or books, too little depth, no price grid."""


class MemoryLimitError(ValidationError, MemoryError):
    """Work refused before it starts because it would exceed `memory_limit_mb`."""


class ModelFittingError(ResearchError, RuntimeError):
    """Observations that do not determine the impact curve asked for.

    >>> str(ModelFittingError("interval 3 has no observation; widen it"))
    'interval 3 has no observation; widen it'
    """


class OptimizationError(ResearchError, RuntimeError):
    """No admissible schedule exists, or none could be certified.

    >>> from research_lib.execution import allocate
    >>> from research_lib.impact import LinearImpact
    >>> allocate(LinearImpact([1e-5, 2e-5]), 10_000, max_shares=4_100)  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    research_lib.errors.OptimizationError: cap admits 8,200 of 10,000 shares...
    """
