"""The command line: `python -m research_lib report [NAME ...]`, `refresh` and `convert SRC DST`."""

from __future__ import annotations

import argparse
import logging
import os
import sys
from collections.abc import Sequence

from research_lib.config import data_folder
from research_lib.errors import ResearchError
from research_lib.monitoring import configure_logging


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; 0 when it succeeded, 1 when a run was skipped under --strict, 2 on an error."""
    options = _parser().parse_args(arguments)
    configure_logging(logging.INFO if options.verbose else logging.WARNING, options.log_file)
    # Kernels may start in another folder, so a relative RESEARCH_DATA is made absolute here, once.
    os.environ["RESEARCH_DATA"] = str(data_folder())
    try:
        return int(options.run(options))
    except ResearchError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("stopped; what is finished is whole, the unfinished is as it was before", file=sys.stderr)
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m research_lib", description=__doc__)
    parser.add_argument("--verbose", action="store_true", help="log at INFO instead of WARNING")
    parser.add_argument("--log-file", help="also log to this file, rotated at 10 MB")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    report = commands.add_parser("report", help="make the reports of configurations (all by default)")
    report.add_argument("names", nargs="*", help="names of notebooks/configs/*.yml")
    report.add_argument("--strict", action="store_true", help="exit with 1 if a configuration was skipped")
    report.set_defaults(run=_report)
    refresh = commands.add_parser("refresh", help="run the notebooks and store the outputs that tests compare")
    refresh.set_defaults(run=_refresh)
    health = commands.add_parser(
        "health", help="try solvers, kernel, disk, memory and data; about 6 s, exits with 1 if red"
    )
    health.add_argument("--verbose", dest="details", action="store_true", help="tell what each check found, and why")
    health.set_defaults(run=_health)
    convert = commands.add_parser("convert", help="write order books of any format as Parquet by symbol and date, once")
    convert.add_argument("source", help="a file, or a folder of files: one that fails is named at the end")
    convert.add_argument("destination", help="a folder, made if it does not exist; read_books reads it back")
    convert.add_argument("--open", help="local opening, HH:MM (default 09:30): dates and opening crosses depend on it")
    convert.add_argument("--close", help="local close, HH:MM up to 24:00 (default 16:00)")
    convert.add_argument("--timezone", help="IANA name of the exchange's time zone (default America/New_York)")
    convert.add_argument(
        "--opens-day-before", action="store_true", default=None, help="the session opens on the evening before its date"
    )
    convert.add_argument(
        "--break", dest="breaks", action="append", metavar="HH:MM-HH:MM", help="a pause of the session, such as lunch"
    )
    convert.add_argument("--symbol", default="", help="of files that name none")
    convert.set_defaults(run=_convert)
    return parser


def _report(options: argparse.Namespace) -> int:
    from research_lib.reporting.configurations import configuration_names
    from research_lib.reporting.runner import run_reports

    outcome = run_reports(options.names or configuration_names())
    for name, what in outcome.items():
        print(f"{name}: {what}" + (f", reports/{name}/" if what == "made" else ""))
    words = {what.split(":")[0] for what in outcome.values()}
    return 2 if "failed" in words else int(options.strict and "skipped" in words)


def _refresh(options: argparse.Namespace) -> int:
    from research_lib.reporting.runner import refresh_notebooks

    for path in refresh_notebooks():
        print(f"refreshed {path.name}")
    return 0


def _health(options: argparse.Namespace) -> int:
    import json

    from research_lib.health import HEALTHY, health_check, summary

    health = health_check()
    print(json.dumps(health if options.details else summary(health), indent=2 if options.details else None))
    return int(health["status"] != HEALTHY)


def _convert(options: argparse.Namespace) -> int:
    from research_lib.market import Session
    from research_lib.market.convert import convert

    given = {name: getattr(options, name) for name in ("open", "close", "timezone", "opens_day_before")}
    given["breaks"] = options.breaks and [tuple(pause.split("-")) for pause in options.breaks]
    session = Session(**{name: value for name, value in given.items() if value is not None})
    for partition in convert(options.source, options.destination, session=session, symbol=options.symbol):
        print(partition)
    return 0


if __name__ == "__main__":
    sys.exit(main())
