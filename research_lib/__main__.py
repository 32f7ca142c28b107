"""The command line: `python -m research_lib report|verify|convert|bench|health`."""

from __future__ import annotations

import argparse
import contextlib
import logging
import os
import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from research_lib.checks import number, refuse_unknown
from research_lib.config import PROJECT_ROOT, data_folder
from research_lib.errors import ResearchError, ValidationError
from research_lib.monitoring import configure_logging

if TYPE_CHECKING:
    from research_lib.reporting.parameters import Project

FLAG: dict[str, Any] = {"action": "store_true"}
COMPARED = """\
Files are held to the hashes of their manifest. Of a second run, numbers of results.json must agree
within 1e-6 relative or 1e-9 absolute, numbers of .csv tables within 1e-6 relative or 2e-6 absolute;
it must make the same files. Prose, pixels, durations and memory are not compared."""
LOGGING: dict[str, dict[str, Any]] = {
    "--verbose": {**FLAG, "help": "log at INFO instead of WARNING"},
    "--log-file": {"metavar": "FILE", "help": "also log to this file, rotated at 10 MB"},
}
JOBS = {"type": int, "help": "notebooks at a time on this machine (default: as many as cores)"}
PAIR = {"action": "append", "default": []}
# By command: its line in the help, and its arguments as `add_argument` takes them.
COMMANDS: dict[str, tuple[str, dict[str, dict[str, Any]]]] = {
    "report": ("make the reports of configurations (all by default)", {
        "names": {"nargs": "*", "help": "of notebooks/configs/*.yml, or of runs of --grid"},
        "--all": {**FLAG, "help": "all configurations, which is what no name means too"},
        "--grid": {"metavar": "FILE", "help": "run every combination of its axes instead"},
        "--jobs": JOBS,
        "--scheduler": {"metavar": "ADDRESS", "default": "", "help": "a Dask scheduler to run on"},
        "--force": {**FLAG, "help": "run also what is unchanged"},
        "--strict": {**FLAG, "help": "exit with 1 if a configuration was skipped"},
        "--only": {"metavar": "SECTION", "default": "", "help": "one notebook, such as modeling"},
        "--html": {**FLAG, "help": "also write every report as one page, reports/html/"},
        "--profile": {**FLAG, "help": "leave cProfile's records as <section>.prof"},
        "--time-limit": {"type": float, "metavar": "S", "default": 1800.0,
            "help": "seconds of one notebook (1800)"},
        "--memory-limit": {"type": float, "metavar": "MB", "default": 4000.0,
            "help": "MB of one notebook (4000)"},
        **LOGGING,
    }),
    "verify": ("run reports again and compare; names what was edited or changed", {
        "names": {"nargs": "*", "help": "folders of reports (all by default)"},
        "--no-run": {**FLAG, "help": "check files and data only, run nothing"},
        "--jobs": JOBS,
        **LOGGING,
    }),
    "convert": ("write order books of any format as Parquet by symbol and date, once", {
        "source": {"help": "a file, or a folder of files: one that fails is named at the end"},
        "destination": {"help": "a folder, made if it does not exist; read_books reads it back"},
        "--open": {"help": "local opening, HH:MM (default 09:30): dates depend on it"},
        "--close": {"help": "local close, HH:MM up to 24:00 (default 16:00)"},
        "--timezone": {"help": "IANA name of the exchange's time zone (America/New_York)"},
        "--opens-day-before": {**FLAG, "default": None,
            "help": "the session opens on the evening before its date"},
        "--break": {**PAIR, "dest": "breaks", "metavar": "HH:MM-HH:MM",
            "help": "a pause of the session, such as lunch"},
        "--symbol": {"default": "", "help": "of files that name none"},
        "--column": {**PAIR, "metavar": "NAME=COLUMN", "help": "the file's column of a name"},
        "--where": {**PAIR, "metavar": "COLUMN=VALUE", "help": "only rows with this value"},
        "--time-unit": {"metavar": "UNIT", "help": "of integer times: s, ms, us or ns"},
        "--times-in": {"metavar": "ZONE", "help": "time zone of times that name none"},
        **LOGGING,
    }),
    "bench": ("measure speed and memory as `make bench` does, by running benchmarks/", {
        "--output": {"metavar": "FILE", "help": "page to write (default: reports/benchmarks.md)"},
    }),
    "health": ("try solvers, Jupyter, disk, memory and data; exits with 1 if red", {
        "--verbose": {**FLAG, "dest": "details", "help": "say what each check found, and why"},
        "--alive": {**FLAG, "help": "only whether this process can compute and has memory: "
            "for liveness probes"},
    }),
}  # fmt: skip


def main(arguments: Sequence[str] | None = None, project: Project | None = None) -> int:
    """Run one command.

    Parameters
    ----------
    arguments : sequence of str, optional
        Those of the process by default.
    project : Project, optional
        Folders of the notebooks, configurations and reports that `report` and `verify` are about;
        this project's own by default.

    Returns
    -------
    int
        0 when it succeeded, 1 when a run was skipped under --strict, 2 on an error, 3 when a run
        that was asked for by name was skipped, 130 when it was interrupted.
    """
    options = _parser().parse_args(arguments)
    options.project = project
    # Without a terminal nobody sees a progress bar: the log has a line for each notebook instead.
    logged = options.verbose or (options.run is _report and not sys.stderr.isatty())
    try:
        configure_logging(logging.INFO if logged else logging.WARNING, options.log_file)
        # Runs may start in another folder, so a relative RESEARCH_DATA is made absolute here, once.
        os.environ["RESEARCH_DATA"] = str(data_folder())
        return int(options.run(options))
    except ResearchError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except (OSError, UnicodeError) as error:
        # A folder that cannot be written; a path that the locale's encoding cannot spell.
        unspelt = isinstance(error, UnicodeError)
        remedy = "set PYTHONUTF8=1" if unspelt else "check the path and who may write there"
        print(f"error: {error}; {remedy}", file=sys.stderr)
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
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    run = {
        "report": _report, "verify": _verify, "convert": _convert,
        "bench": _bench, "health": _health,
    }  # fmt: skip
    for name, (line, arguments) in COMMANDS.items():
        about = COMPARED if name == "verify" else None
        command = commands.add_parser(name, help=line, description=about)
        command.set_defaults(run=run[name])
        for argument, how in arguments.items():
            command.add_argument(argument, **how)
    return parser


def _report(options: argparse.Namespace) -> int:
    from research_lib.reporting import Limits, Options, Project, chosen_runs, run_reports

    if options.all and options.names:
        names = " ".join(options.names)
        raise ValidationError(f"--all and {names} exclude each other; leave one out")
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
    for name, became in outcome.items():
        if became == "made":
            became = f"made, reports/{name}/"
        # What is piped ends in a log, and an error's words may quote data.
        elif became.startswith("failed") and not sys.stdout.isatty():
            became = f"failed, reports/{name}/failure.md tells"
        print(f"{name}: {became}")
    if options.html:
        from research_lib.reporting import write_pages

        print(f"pages: {write_pages(project)}")
    words = {became.split(":")[0] for became in outcome.values()}
    skipped = 3 if options.names else int(options.strict)  # 3: what was asked for by name
    return 2 if "failed" in words else skipped * ("skipped" in words)


def _verify(options: argparse.Namespace) -> int:
    from research_lib.reporting import ABSENT, verify_reports

    found = verify_reports(
        options.names, options.project, rerun=not options.no_run, jobs=_jobs(options)
    )
    bad = {name for name, lines in found.items() if any(not x.startswith(ABSENT) for x in lines)}
    for name, lines in found.items():
        passed = "files verified" if lines or options.no_run else "verified"
        print(f"{name}: {'NOT verified' if name in bad else passed}")
        for line in lines:
            print(f"  {line}")
    return int(bool(bad))


def _jobs(options: argparse.Namespace) -> int | None:
    """--jobs, None where it is left out; 0 is refused and not taken for all cores."""
    return None if options.jobs is None else int(number("--jobs", options.jobs, 1, integer=True))


def _convert(options: argparse.Namespace) -> int:
    from research_lib.market import Session, convert

    breaks = [tuple(pause.split("-")) for pause in options.breaks]
    given = {name: getattr(options, name) for name in ("open", "close", "timezone")}
    given |= {"opens_day_before": options.opens_day_before, "breaks": breaks or None}
    session = Session(**{name: value for name, value in given.items() if value is not None})
    file = {
        "columns": {theirs: ours for ours, theirs in _pairs("--column", options.column).items()},
        "where": {k: _value(v) for k, v in _pairs("--where", options.where).items()},
        "time_unit": options.time_unit,
        "timezone": options.times_in,
    }
    file = {name: value for name, value in file.items() if value}
    dates = convert(
        options.source, options.destination, session=session, symbol=options.symbol, **file
    )
    for date in dates:
        print(date)
    return 0


def _pairs(option: str, texts: Sequence[str]) -> Mapping[str, str]:
    """NAME=VALUE arguments as a mapping."""
    for text in texts:
        if "=" not in text.strip("="):
            raise ValidationError(f"{option} must be NAME=VALUE, got {text!r}")
    return dict(text.split("=", 1) for text in texts)


def _value(text: str) -> Any:
    """A number where it is one: ids in files are integers."""
    for kind in (int, float):
        with contextlib.suppress(ValueError):
            return kind(text)
    return text


def _bench(options: argparse.Namespace) -> int:
    import subprocess

    scripts = PROJECT_ROOT / "benchmarks"
    if not (scripts / "__main__.py").is_file():
        raise ValidationError(
            f"{scripts} holds no benchmarks: run this from a checkout of the project"
        )
    output = ["--output", options.output] if options.output else []
    return subprocess.run([sys.executable, str(scripts), *output]).returncode


def _health(options: argparse.Namespace) -> int:
    import json

    from research_lib.health import HEALTHY, alive_check, health_check, summary

    health = alive_check() if options.alive else health_check()
    print(json.dumps(health, indent=2) if options.details else json.dumps(summary(health)))
    return int(health["status"] != HEALTHY)


if __name__ == "__main__":
    sys.exit(main())
