"""Markdown reports, every number of them read from the run's results."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from research_lib.errors import ResearchError

NOT_AVAILABLE = "n/a"
ROUNDING = 1e-10  # reports have no unit in which less would be more than floating-point noise


def significant(value: Any, digits: int = 3) -> str:
    """A number with `digits` significant digits, thousands separated, rounding noise as 0; text as it is.

    >>> significant(1234567), significant(0.0123456), significant(99.96), significant(None)
    ('1,230,000', '0.0123', '100', 'n/a')
    """
    if value is None:
        return NOT_AVAILABLE
    if isinstance(value, (str, bool)):
        return str(value)
    if not math.isfinite(value):
        return NOT_AVAILABLE
    if abs(value) < ROUNDING:
        return "0"
    rounded = float(f"{value:.{digits - 1}e}")
    if not 1e-4 <= abs(rounded) < 1e9:
        return f"{rounded:.{digits - 1}e}"
    decimals = max(0, digits - 1 - _exponent(rounded))
    return f"{rounded:,.{decimals}f}"


def count(value: int) -> str:
    """A count, exact, thousands separated."""
    return f"{value:,d}"


def percent(value: float) -> str:
    """A percentage with one decimal.

    >>> percent(0.06), percent(72.25)
    ('0.1', '72.2')
    """
    return f"{value:.1f}"


def residual(value: float) -> str:
    """A relative residual by its order of magnitude; below 1e-12 it is rounding.

    >>> residual(2e-16), residual(3.4e-7)
    ('below 1e-12', '3e-07')
    """
    return "below 1e-12" if abs(value) < 1e-12 else f"{abs(value):.0e}"


class RenderError(ResearchError):
    """Results that a template does not fit; names the template and what it misses."""

    def __init__(self, section: str, error: Exception) -> None:
        super().__init__(f"{section}_summary.md.j2 does not fit its results: {type(error).__name__}: {error}")
        self.section = section


def render_summary(section: str, results: Mapping[str, Any], provenance: Mapping[str, Any], templates: Path) -> str:
    """The report of one section from its template, results.json's numbers and the manifest's.

    Raises
    ------
    RenderError
        The template asks for what the results do not have.
    """
    from jinja2 import TemplateError

    try:
        return render(f"{section}_summary.md.j2", templates, results=results, manifest=provenance)
    except (TemplateError, ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
        raise RenderError(section, error) from error


def render_failure(failure: Mapping[str, Any], templates: Path) -> str:
    """failure.md: where a run stopped, the error, the parameters, how to run it again."""
    return render("failure.md.j2", templates, failure=failure)


def render(template: str, templates: Path, **values: Any) -> str:
    """Any template of the project's folder, or of the library's where it has none of that name."""
    text: str = _environment(templates).get_template(template).render(**values)
    return text


def _environment(templates: Path) -> Any:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader([templates, Path(__file__).with_name("templates")]),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,  # markdown for people, made from our own numbers
    )
    environment.filters.update(sig=significant, count=count, percent=percent, residual=residual)
    return environment


def _exponent(value: float) -> int:
    return int(f"{abs(value):e}".split("e")[1])
