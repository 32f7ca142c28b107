"""What a notebook hands on: figures with captions, tables as files, and its typed results.

All of it is displayed and nothing is written, so a notebook runs the same by hand, under nbval and
under papermill; `pages` collects it from the executed notebook.
"""

import base64
import dataclasses
import math
import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd

from research_lib.errors import InsufficientDataError, ModelFittingError
from research_lib.monitoring import MONITOR
from research_lib.reporting.manifest import plain
from research_lib.wording import significant

TABLE_TYPE = "application/vnd.research-lib.table+json"
RESULTS_TYPE = "application/vnd.research-lib.results+json"
CSV_DIGITS = "%.12g"  # tables are compared within 1e-9; what lies below is rounding


class Report:
    """What one notebook shows and hands on to its report.

    Parameters
    ----------
    section : str
        A key of `parameters.NOTEBOOKS`, such as "modeling": prefix of its figures and tables, and
        key of its results.

    Attributes
    ----------
    left_out : dict of str to str
        Parts that could not be made, and why.

    Notes
    -----
    Tables at the end of a cell are shown with three significant digits from here on, in Jupyter
    and in the report alike, as HTML, Markdown and plain text.

    Examples
    --------
    >>> report = Report("modeling")
    >>> report.part("ratio", lambda a, b: a / b, 1, 2), report.left_out
    (0.5, {})
    """

    def __init__(self, section: str) -> None:
        self.section = section
        self.left_out: dict[str, str] = {}
        _show_tables_rounded()

    def part(self, name: str, make: Callable[..., Any], *given: Any, **options: Any) -> Any:
        """What `make` gives; where the sample is too small, None and why in `left_out`.

        Any other error is not due to the sample: it ends the run.
        """
        try:
            return make(*given, **options)
        except (InsufficientDataError, ModelFittingError) as error:
            self.left_out[name] = str(error)
            return None

    def figure(self, drawn: Any, name: str, caption: str) -> None:
        """Show a figure, or the one that an Axes is part of, above its caption, and close it.

        A report keeps it as figures/<section>_<name>.png.
        """
        import matplotlib.pyplot as plt
        from IPython.display import Markdown, display

        from research_lib.reporting.figures.base import figure_bytes

        data = {"image/png": base64.b64encode(figure_bytes(drawn)).decode("ascii")}
        named = {"filename": f"{self.section}_{name}.png", "image/png": {"alt": caption}}
        display(data, raw=True, metadata=named)
        display(Markdown(f"*{caption}*"))
        plt.close(drawn.get_figure(root=True))

    def table(self, table: Any, name: str) -> None:
        """Hand on a pandas table as it is: a report keeps tables/<section>_<name>.csv."""
        from IPython.display import display

        file, rows = f"{self.section}_{name}.csv", f"{len(table):,} rows"
        text = table.to_csv(float_format=CSV_DIGITS, lineterminator="\n")
        shown = {"text/plain": f"{file}: {rows}, kept in tables/ of a report"}
        shown |= {"text/markdown": f"[{file}](tables/{file}): {rows}"}
        display({TABLE_TYPE: {"name": file, "csv": text}, **shown}, raw=True)

    def results(self, results: Any) -> None:
        """Hand on the report's scalars, a dataclass of `results`, with the library's timings."""
        from IPython.display import display

        content = plain(dataclasses.asdict(results))
        bundle = {"section": self.section, "results": content, "timings": plain(MONITOR.summary())}
        shown = as_text(pd.Series(content, name=self.section))
        texts = {"text/plain": shown.to_string(), "text/html": shown.to_html()}
        display({RESULTS_TYPE: bundle, **texts}, raw=True)


def as_text(table: pd.DataFrame | pd.Series) -> pd.DataFrame:
    """The table or column as people read it: three significant digits, NaN empty, yes and no.

    Examples
    --------
    >>> as_text(pd.DataFrame({"cost": [1234.567, np.nan], "holds": [True, False]}))
        cost holds
    0  1,230   yes
    1           no
    """
    return pd.DataFrame(table).map(_cell).rename(index=_label)


def to_markdown(given: pd.DataFrame | pd.Series) -> str:
    """The same as a Markdown table, numbers to the right, with units in brackets.

    Examples
    --------
    >>> print(to_markdown(pd.DataFrame({"cost_bps": [1.5]}, index=["TWAP"])))
    |  | cost (bps) |
    |:--|--:|
    | TWAP | 1.50 |
    """
    table = pd.DataFrame(given)
    heads = [_words(name) for name in [*table.index.names, *table.columns]]
    right = [not pd.api.types.is_string_dtype(kind) for kind in table.infer_objects().dtypes]
    body = as_text(table).reset_index(allow_duplicates=True).to_numpy().tolist()
    rule = [":--"] * table.index.nlevels + ["--:" if one else ":--" for one in right]
    rows = [" | ".join(str(cell).replace("|", "\\|") for cell in line) for line in [heads, *body]]
    return "\n".join([f"| {rows[0]} |", f"|{'|'.join(rule)}|", *(f"| {row} |" for row in rows[1:])])


def _show_tables_rounded() -> None:
    """Register the three forms of a table with IPython, where there is one."""
    from IPython.core.getipython import get_ipython

    shell: Any = get_ipython()
    if shell is None:
        return
    forms: dict[str, Callable[..., Any]] = {
        "text/html": lambda table: as_text(table).to_html(),
        "text/markdown": to_markdown,
        "text/plain": lambda table, printer, _: printer.text(as_text(table).to_string()),
    }
    for kind, form in forms.items():
        for table in (pd.DataFrame, pd.Series):
            shell.display_formatter.formatters[kind].for_type(table, form)


def _cell(value: Any) -> str:
    if isinstance(value, bool | np.bool_):
        return "yes" if value else "no"
    if isinstance(value, int | np.integer):
        return f"{value:,d}"
    if isinstance(value, float | np.floating):
        return "" if math.isnan(value) else significant(float(value))
    return "" if value is None or value is pd.NaT else str(value)


def _label(value: Any) -> Any:
    return f"{value:,.12g}" if isinstance(value, float | np.floating) else value


def _words(name: Any) -> str:
    """A column's name as words: cost_bps is cost (bps), censored_% is censored (%)."""
    parts = name if isinstance(name, tuple) else () if name is None else (name,)
    text = " ".join(map(str, parts)).replace("_", " ")
    return re.sub(r" (bps|%|shares|seconds)$", r" (\1)", text)
