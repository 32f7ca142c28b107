"""What may be chosen of a fit, checked once."""

from __future__ import annotations

from dataclasses import dataclass

from research_lib.checks import number, refuse_unknown
from research_lib.config import Record
from research_lib.errors import ValidationError
from research_lib.impact.covariance import ERRORS
from research_lib.impact.estimation import MODEL_TYPES
from research_lib.impact.samples import CENSORING

ESTIMATORS = ("least_squares", "weighted", "huber", "log_log")
GROUPINGS = ("interval", "bucket", "pooled")


@dataclass(frozen=True)
class Choice(Record):
    """How to fit; the arguments of `fit_impact`."""

    model_type: str
    by: str
    n_buckets: int
    estimator: str
    errors: str
    censoring: str
    shrinkage: str
    minimum: int
    tolerance: float

    def n_groups(self, n_intervals: int) -> int:
        """Curves to fit."""
        return {"interval": n_intervals, "bucket": min(self.n_buckets, n_intervals), "pooled": 1}[
            self.by
        ]


def checked_choice(
    model_type: str,
    by: str = "interval",
    n_buckets: int = 13,
    estimator: str = "least_squares",
    errors: str = "auto",
    censoring: str = "complete",
    shrinkage: str = "profile",
    min_observations: int = 5,
    tolerance: float = 1e-8,
) -> Choice:
    """The arguments of `fit_impact`, or a ValidationError naming the first that is unknown or does not go together."""
    refuse_unknown([model_type], MODEL_TYPES, "model_type")
    refuse_unknown([by], GROUPINGS, "by")
    refuse_unknown([estimator], ESTIMATORS, "estimator")
    refuse_unknown([errors], ("auto", *ERRORS), "errors")
    refuse_unknown([censoring], CENSORING, "censoring")
    refuse_unknown([shrinkage], ("profile", "none"), "shrinkage")
    if estimator == "huber" and model_type not in ("linear", "nonlinear"):
        raise ValidationError(
            f'estimator "huber" fits "linear" and "nonlinear", not {model_type!r}'
        )
    if estimator == "log_log" and model_type != "power":
        raise ValidationError(f'estimator "log_log" fits "power", not {model_type!r}')
    buckets = number("n_buckets", n_buckets, 1, integer=True)
    least = number("min_observations", min_observations, 1, integer=True)
    small = number("tolerance", tolerance, above=0)
    return Choice(model_type, by, buckets, estimator, errors, censoring, shrinkage, least, small)


def refuse_rows_only(choice: Choice) -> None:
    """Raise ValidationError if the choice needs rows, where there are moments only."""
    if choice.estimator in ("huber", "log_log"):
        raise ValidationError(
            f'estimator "{choice.estimator}" needs rows; moments give "least_squares" or "weighted"'
        )
    if choice.errors not in ("auto", "day"):
        raise ValidationError(f'errors "{choice.errors}" need rows; moments give "day"')
