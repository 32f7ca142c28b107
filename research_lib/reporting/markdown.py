"""Markdown reports, every number of them read from the run's results."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from research_lib.reporting.provenance import read_json

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


def render_summary(section: str, results: Mapping[str, Any], provenance: Mapping[str, Any]) -> str:
    """The report of one section from its template, results.json's numbers and the manifest."""
    text: str = _environment().get_template(f"{section}_summary.md.j2").render(results=results, manifest=provenance)
    return text


def render_index(reports: Path) -> Path:
    """reports/README.md: every finished run beside the others."""
    runs = [
        {"name": path.parent.name, **read_json(path), "manifest": read_json(path.with_name("manifest.json"))}
        for path in sorted(reports.glob("*/results.json"))
    ]
    text = _environment().get_template("index.md.j2").render(runs=runs)
    target = reports / "README.md"
    part = target.with_name(".README.md.part")
    part.write_text(text, encoding="utf-8")
    part.replace(target)
    return target


def _environment() -> Any:
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("research_lib.reporting"),
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
