"""Markdown reports, every number of them read from the run's results."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from research_lib.errors import ResearchError
from research_lib.wording import count, p_value, percent, residual, significant


class RenderError(ResearchError):
    """Results that a template does not fit; names the template and what it misses."""

    def __init__(self, section: str, error: Exception) -> None:
        super().__init__(
            f"{section}_summary.md.j2 does not fit its results: {type(error).__name__}: {error}"
        )
        self.section = section


def render_summary(
    section: str, results: Mapping[str, Any], provenance: Mapping[str, Any], templates: Path
) -> str:
    """The report of one section from its template, results.json's numbers and the manifest's.

    Raises
    ------
    RenderError
        The template asks for what the results do not have.
    """
    from jinja2 import TemplateError

    try:
        return render(f"{section}_summary.md.j2", templates, results=results, manifest=provenance)
    except (
        TemplateError,
        ArithmeticError,
        AttributeError,
        LookupError,
        TypeError,
        ValueError,
    ) as error:
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
    environment.filters.update(
        sig=significant, count=count, percent=percent, residual=residual, p_value=p_value
    )
    return environment
