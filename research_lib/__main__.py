"""The command line: `python -m research_lib report [NAME ...]`, `verify`, `bench`, `health`, `refresh`, `convert`."""

from __future__ import annotations

import argparse
import logging
import os
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from research_lib.config import PROJECT_ROOT, data_folder
from research_lib.errors import ResearchError, ValidationError
from research_lib.monitoring import configure_logging

if TYPE_CHECKING:
    from research_lib.reporting.parameters import Project


def main(arguments: Sequence[str] | None = None, project: Project | None = None) -> int:
    """Run one command.

    Parameters
    ----------
    arguments : sequence of str, optional
        Those of the process by default.
    project : Project, optional
        Folders of the notebooks, configurations and reports that `report` and `verify` are about; this project's own
        by default.

    Returns
    -------
    int
        0 when it succeeded, 1 when a run was skipped under --strict, 2 on an error, 130 when it was interrupted.
    """
    options = _parser().parse_args(arguments)
    options.project = project
    # Without a terminal nobody sees a progress bar: the log has a line for each notebook instead.
    told = options.verbose or (options.run is _report and not sys.stderr.isatty())
    try:
        configure_logging(logging.INFO if told else logging.WARNING, options.log_file)
        # Kernels may start in another folder, so a relative RESEARCH_DATA is made absolute here, once.
        os.environ["RESEARCH_DATA"] = str(data_folder())
        return int(options.run(options))
    except ResearchError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(
            "stopped; what is finished is whole, the unfinished is as it was before",
            file=sys.stderr,
        )
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m research_lib", description=__doc__)
    parser.set_defaults(verbose=False, log_file=None)
    logged = argparse.ArgumentParser(add_help=False)
    logged.add_argument("--verbose", action="store_true", help="log at INFO instead of WARNING")
    logged.add_argument(
        "--log-file", metavar="FILE", help="also log to this file, rotated at 10 MB"
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    report = commands.add_parser(
        "report", parents=[logged], help="make the reports of configurations (all by default)"
    )
    _report_options(report)
    verify = commands.add_parser(
        "verify",
        parents=[logged],
        help="run reports again and compare; names what was edited or changed",
        description="Files are held to the hashes of their manifest, summaries to results.json, to the letter. Of a "
        "second run, numbers of results.json must agree within 1e-6 relative or 1e-9 absolute, those in its texts "
        "within 2 %, numbers of .csv tables within 1e-6 relative or 2e-6 absolute, all else exactly; it must make the "
        "same figures, whose pixels, like durations and memory, are not compared.",
    )
    verify.add_argument("names", nargs="*", help="folders of reports (all by default)")
    verify.add_argument(
        "--no-run", action="store_true", help="check files and data only, run nothing"
    )
    verify.add_argument("--jobs", type=int, help="notebooks at a time (default: as many as cores)")
    verify.set_defaults(run=_verify)
    bench = commands.add_parser(
        "bench", help="measure speed and memory as `make bench` does, by running benchmarks/"
    )
    bench.add_argument(
        "--output", metavar="FILE", help="page to write (default: reports/benchmarks.md)"
    )
    bench.set_defaults(run=_bench)
    refresh = commands.add_parser(
        "refresh", help="for developers: store the outputs that tests compare"
    )
    refresh.set_defaults(run=_refresh)
    health = commands.add_parser(
        "health", help="try solvers, kernel, disk, memory and data; exits with 1 if red"
    )
    health.add_argument(
        "--verbose", dest="details", action="store_true", help="tell what each check found, and why"
    )
    health.add_argument(
        "--alive",
        action="store_true",
        help="only whether this process can compute and has memory: for liveness probes",
    )
    health.set_defaults(run=_health)
    convert = commands.add_parser(
        "convert",
        parents=[logged],
        help="write order books of any format as Parquet by symbol and date, once",
    )
    _convert_options(convert)
    return parser


def _report_options(report: argparse.ArgumentParser) -> None:
    report.add_argument(
        "names", nargs="*", help="names of notebooks/configs/*.yml, or of runs of --grid"
    )
    report.add_argument(
        "--all", action="store_true", help="all configurations, which is what no name means too"
    )
    report.add_argument(
        "--grid", metavar="FILE", help="run every combination of the axes of this file instead"
    )
    report.add_argument(
        "--jobs", type=int, help="notebooks at a time on this machine (default: as many as cores)"
    )
    report.add_argument(
        "--scheduler",
        metavar="ADDRESS",
        default="",
        help="run on a Dask scheduler's workers instead",
    )
    report.add_argument("--force", action="store_true", help="run also what is unchanged")
    report.add_argument(
        "--strict", action="store_true", help="exit with 1 if a configuration was skipped"
    )
    report.add_argument(
        "--only", metavar="SECTION", default="", help="run this notebook alone, such as modeling"
    )
    report.add_argument(
        "--html", action="store_true", help="also write every report as one page, reports/html/"
    )
    report.add_argument(
        "--profile", action="store_true", help="leave cProfile's records as <section>.prof"
    )
    report.add_argument(
        "--time-limit",
        type=float,
        metavar="S",
        default=1800.0,
        help="seconds of one notebook (1800)",
    )
    report.add_argument(
        "--memory-limit", type=float, metavar="MB", default=4000.0, help="MB of one notebook (4000)"
    )
    report.set_defaults(run=_report)


def _convert_options(convert: argparse.ArgumentParser) -> None:
    convert.add_argument(
        "source", help="a file, or a folder of files: one that fails is named at the end"
    )
    convert.add_argument(
        "destination", help="a folder, made if it does not exist; read_books reads it back"
    )
    convert.add_argument(
        "--open",
        help="local opening, HH:MM (default 09:30): dates and opening crosses depend on it",
    )
    convert.add_argument("--close", help="local close, HH:MM up to 24:00 (default 16:00)")
    convert.add_argument(
        "--timezone", help="IANA name of the exchange's time zone (default America/New_York)"
    )
    convert.add_argument(
        "--opens-day-before",
        action="store_true",
        default=None,
        help="the session opens on the evening before its date",
    )
    convert.add_argument(
        "--break",
        dest="breaks",
        action="append",
        metavar="HH:MM-HH:MM",
        help="a pause of the session, such as lunch",
    )
    convert.add_argument("--symbol", default="", help="of files that name none")
    convert.set_defaults(run=_convert)


def _report(options: argparse.Namespace) -> int:
    from research_lib.checks import number, refuse_unknown
    from research_lib.reporting.configurations import chosen_runs
    from research_lib.reporting.parameters import Project
    from research_lib.reporting.run import Options, run_reports
    from research_lib.reporting.supervision import Limits

    if options.all and options.names:
        raise ValidationError(
            f"--all and {' '.join(options.names)} exclude each other; leave one out"
        )
    project = options.project or Project()
    refuse_unknown([options.only] if options.only else [], project.sections, "section")
    limits = Limits(
        number("--time-limit", options.time_limit, above=0),
        number("--memory-limit", options.memory_limit, 1),
    )
    runs = chosen_runs(options.names, options.grid, project)
    how = Options(
        _jobs(options), options.scheduler, options.force, options.only, options.profile, limits
    )
    outcome = run_reports(runs, project, how)
    for name, what in outcome.items():
        # What is piped ends in a log, and an error's words may quote data.
        quiet = what.startswith("failed") and not sys.stdout.isatty()
        print(
            f"{name}: "
            + (f"failed, reports/{name}/failure.md tells" if quiet else _placed(name, what))
        )
    if options.html:
        from research_lib.reporting.render import write_pages

        print(f"pages: {write_pages(project)}")
    words = {what.split(":")[0] for what in outcome.values()}
    return 2 if "failed" in words else int(options.strict and "skipped" in words)


def _placed(name: str, what: str) -> str:
    return f"{what}, reports/{name}/" if what == "made" else what


def _verify(options: argparse.Namespace) -> int:
    from research_lib.reporting.verify import ABSENT, made_elsewhere, verify_reports

    culprits = verify_reports(
        options.names, options.project, rerun=not options.no_run, jobs=_jobs(options)
    )
    bad = {
        name
        for name, found in culprits.items()
        if any(not line.startswith(ABSENT) for line in found)
    }
    for name, found in culprits.items():
        passed = "files verified" if found or options.no_run else "verified"
        print(f"{name}: " + ("NOT verified" if name in bad else passed))
        if name not in bad and (difference := made_elsewhere(name, options.project)):
            print(f"  {'files' if found or options.no_run else 'numbers'} agree; {difference}")
        for line in found:
            print(f"  {line}")
    return int(bool(bad))


def _jobs(options: argparse.Namespace) -> int | None:
    """--jobs, None where it is left out; 0 is refused and not taken for all cores."""
    from research_lib.checks import number

    return None if options.jobs is None else int(number("--jobs", options.jobs, 1, integer=True))


def _bench(options: argparse.Namespace) -> int:
    import subprocess

    scripts = PROJECT_ROOT / "benchmarks"
    if not (scripts / "__main__.py").is_file():
        raise ValidationError(
            f"{scripts} holds no benchmarks: run this from a checkout of the project"
        )
    output = ["--output", options.output] if options.output else []
    return subprocess.run([sys.executable, str(scripts), *output]).returncode


def _refresh(options: argparse.Namespace) -> int:
    from research_lib.reporting.refresh import refresh_notebooks

    for path in refresh_notebooks():
        print(f"refreshed {path.name}")
    return 0


def _health(options: argparse.Namespace) -> int:
    import json

    from research_lib.health import HEALTHY, alive_check, health_check, summary

    health = alive_check() if options.alive else health_check()
    print(
        json.dumps(
            health if options.details else summary(health), indent=2 if options.details else None
        )
    )
    return int(health["status"] != HEALTHY)


def _convert(options: argparse.Namespace) -> int:
    from research_lib.market import Session, convert

    given = {
        name: getattr(options, name) for name in ("open", "close", "timezone", "opens_day_before")
    }
    given["breaks"] = options.breaks and [tuple(pause.split("-")) for pause in options.breaks]
    session = Session(**{name: value for name, value in given.items() if value is not None})
    for partition in convert(
        options.source, options.destination, session=session, symbol=options.symbol
    ):
        print(partition)
    return 0


if __name__ == "__main__":
    sys.exit(main())
