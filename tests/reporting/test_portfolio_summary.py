"""What the portfolio's report says of its certificate."""

from __future__ import annotations

import math
from pathlib import Path

import jinja2
import pytest

from research_lib.reporting import markdown

TEMPLATE = Path(markdown.__file__).parent / "templates" / "portfolio_summary.md.j2"


@pytest.mark.parametrize(
    ("measured", "said"),
    [
        (3e-16, "with a KKT residual of below 1e-12."),
        (5e-11, "with a KKT residual of 5e-11."),
        (math.nan, "with no optimum claimed."),
        (None, "with no optimum claimed."),
    ],
)
def test_a_residual_is_told_as_measured(measured: float | None, said: str) -> None:
    line = next(text for text in TEMPLATE.read_text().splitlines() if "results.kkt_residual" in text)
    environment = jinja2.Environment(autoescape=False)
    environment.filters["residual"] = markdown.residual
    told = environment.from_string(line).render(results={"solver": "modes", "kkt_residual": measured})
    assert told == f"The portfolio's schedule was found by modes, {said}"
