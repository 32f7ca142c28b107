"""The command line: `python -m research_lib report|verify|convert|live|bench|health`."""

import argparse
import json
import logging
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from typing import Any

from research_lib import health_check, live, market, reporting
from research_lib.checks import number, refuse_unknown
from research_lib.config import PROJECT_ROOT, data_folder, parse_yaml
from research_lib.errors import ResearchError
from research_lib.monitoring import configure_logging

FLAG: dict[str, Any] = {"action": "store_true"}
PAIRS: dict[str, Any] = {"nargs": "+", "default": [], "metavar": "NAME=VALUE"}
# By command: its line in the help, and its arguments as `add_argument` takes them.
COMMANDS: dict[str, tuple[str, dict[str, dict[str, Any]]]] = {
    "report": ("make reports: the embedded default run from scratch, or those named", {
        "names": {"nargs": "*", "help": "of notebooks/configs/*.yml, or of runs of --grid"},
        "--all": {**FLAG, "help": "every configuration whose data are there"},
        "--grid": {"metavar": "FILE", "help": "run every combination of its axes instead"},
        "--jobs": {"type": int, "help": "notebooks at a time (default: as many as cores)"},
        "--scheduler": {"metavar": "ADDRESS", "default": "", "help": "a Dask scheduler to run on"},
        "--force": {**FLAG, "help": "run also what is unchanged"},
        "--strict": {**FLAG, "help": "exit with 1 if a configuration was skipped"},
        "--profile": {**FLAG, "help": "leave cProfile's records as <section>.prof"},
        "--time-limit": {"type": float, "default": 1800.0, "help": "s of one notebook (1800)"},
        "--memory-limit": {"type": float, "default": 4000.0, "help": "MB of one notebook (4000)"},
    }),
    "verify": ("run reports again and compare; names what was edited or changed", {
        "names": {"nargs": "*", "help": "folders of reports (all by default)"},
    }),
    "convert": ("write order books of any format as Parquet by symbol and date, once", {
        "source": {"help": "a file, or a folder of files: one that fails is named at the end"},
        "destination": {"help": "a folder, made if it does not exist; read_books reads it back"},
        "--session": {**PAIRS, "help": "its hours: timezone=Asia/Tokyo open=09:00 close=15:30"},
        "--read": {**PAIRS, "help": "an own layout: symbol=XYZ time_unit=ms where='{venue: A}'"},
    }),
    "live": ("advise the child orders of one order on a feed, as JSON lines; none is sent", {
        "config": {"help": "of notebooks/configs/*.yml: its strategy, and settings under `live`"},
        "--source": {
            "default": "replay", "metavar": "replay[:FILE]|ws:URL",
            "help": "a recording (default: the configuration's) or Binance's streams",
        },
        "--speed": {"type": float, "default": 1.0, "help": "of a replay (1: real time; inf)"},
        "--output": {"metavar": "FILE", "default": "", "help": "log and state of the order"},
    }),
    "bench": ("measure speed and memory as `make bench` does, by running benchmarks/", {
        "--output": {"metavar": "FILE", "help": "page to write (default: reports/benchmarks.md)"},
    }),
    "health": ("try solvers, Jupyter, disk, memory and data; exits with 1 if red", {
        "--alive": {**FLAG, "help": "only memory, which a restart could mend; for liveness probes"},
    }),
}  # fmt: skip


def main(arguments: Sequence[str] | None = None, project: "reporting.Project | None" = None) -> int:
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
        0 when it succeeded, 1 when a run was skipped under --strict or `verify` found a difference,
        2 on an error, 3 when a run that was asked for by name was skipped,
        130 when it was interrupted.
    """
    parser = argparse.ArgumentParser(prog="python -m research_lib", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND", dest="command")
    for name, (line, table) in COMMANDS.items():
        command = commands.add_parser(name, help=line)
        command.add_argument("--verbose", **FLAG, help="log at INFO; of health, all that it found")
        command.add_argument("--log-file", help="also log to this file, rotated at 10 MB")
        for argument, how in table.items():
            command.add_argument(argument, **how)
    options = parser.parse_args(arguments, argparse.Namespace(project=project))
    # Without a terminal nobody sees a progress bar: the log has a line for each notebook instead.
    unseen = options.command == "report" and not sys.stderr.isatty()
    logged = unseen or (options.verbose and options.command != "health")
    try:
        configure_logging(logging.INFO if logged else logging.WARNING, options.log_file)
        # Runs may start in another folder, so a relative RESEARCH_DATA is made absolute here, once.
        os.environ["RESEARCH_DATA"] = str(data_folder())
        return int(globals()[f"_{options.command}"](options))
    except (ResearchError, OSError, UnicodeError) as error:
        remedy = "; set PYTHONUTF8=1" if isinstance(error, UnicodeError) else ""
        if isinstance(error, OSError) and not isinstance(error, ResearchError):
            remedy = "; check the path and who may write there"
        print(f"error: {error}{remedy}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        kept = "what is finished is whole, the unfinished is as it was before"
        print(f"stopped; {kept}", file=sys.stderr)
        return 130


def _report(options: argparse.Namespace) -> int:
    if options.jobs is not None:  # 0 is refused and not taken for all cores
        number("--jobs", options.jobs, 1)
    how = reporting.Options(
        jobs=options.jobs, scheduler=options.scheduler, force=options.force,
        whole=bool(options.names), profile=options.profile,
        seconds=number("--time-limit", options.time_limit, above=0),
        memory_mb=number("--memory-limit", options.memory_limit, 1),
    )  # fmt: skip
    project = options.project or reporting.Project()
    if not (options.names or options.grid or options.all):
        return _embedded(project, how)
    runs = reporting.chosen_runs(options.names, options.grid, project)
    outcome = reporting.run_reports(runs, project, how)
    for name, became in outcome.items():
        print(f"{name}: {_public(name, became)}")
    words = {became.split(":")[0] for became in outcome.values()}
    skipped = 3 if options.names else int(options.strict)  # 3: what was asked for by name
    return 2 if "failed" in words else skipped * ("skipped" in words)


def _public(name: str, became: str) -> str:
    """What became of a run; what is piped ends in a log, and an error's words may quote data."""
    hidden = became.startswith("failed") and not sys.stdout.isatty()
    return f"failed, see reports/{name}/failure.md" if hidden else became


def _embedded(project: "reporting.Project", how: "reporting.Options") -> int:
    """Make the default run from scratch; say its answer, whether it was reproduced, and where."""
    name, folder = "default", project.reports / "default"
    became, differences = reporting.remake(reporting.RunConfig.load(name, project), project, how)
    if not became.startswith("made"):
        print(f"{name}: {_public(name, became)}")
        return 2
    results = json.loads((folder / "results.json").read_bytes())
    went = json.loads((folder / "run.json").read_bytes())["sections"]
    for section, own in results.items():
        again = " (not run again; `report default --force` does)"
        print(f"\n{section}{again * went[section]['kept']}: {own['answer']}")
    compared = "The numbers of the report that was there were reproduced, of what was run."
    if differences is None:
        compared = "There was no report to compare these numbers with."
    elif differences:
        compared = f"NOT the numbers of the report that was there ({len(differences)} differ):"
    print(f"\n{compared}", *(f"  {line}" for line in (differences or [])[:5]), sep="\n")
    print(*(folder / f"{section}_summary.html" for section in results), sep="\n")
    more = len(reporting.configuration_names(project)) - 1
    print(f"`make reports` makes {more} more, as far as their data are in {data_folder()}.")
    return 0


def _verify(options: argparse.Namespace) -> int:
    bad = False
    for name, lines in reporting.verify_reports(options.names, options.project).items():
        wrong = any(not line.startswith(reporting.ABSENT) for line in lines)
        print(f"{name}: {'NOT ' if wrong else 'files ' if lines else ''}verified")
        print(*(f"  {line}\n" for line in lines), sep="", end="")
        bad |= wrong
    return int(bad)


def _convert(options: argparse.Namespace) -> int:
    session, how = _pairs("--session", options.session), _pairs("--read", options.read)
    refuse_unknown(how, ("symbol", "columns", "timezone", "time_unit", "where"), "--read")
    how["session"] = market.Session(**session)
    for path in market.convert(options.source, options.destination, **how):
        print(path)
    return 0


def _pairs(option: str, texts: Sequence[str]) -> dict[str, Any]:
    """NAME=VALUE arguments; values as in a configuration's YAML, but a symbol is a text: 0700."""
    pairs = (text.partition("=") for text in texts)
    lines = [f"{n}{is_ and ': '}{json.dumps(v) if n == 'symbol' else v}" for n, is_, v in pairs]
    return parse_yaml("\n".join(lines) or "{}", option)


def _live(options: argparse.Namespace) -> int:
    now = time.time_ns() if options.source.startswith("ws:") else None
    plan = live.Plan.load(options.config, options.project, now)
    live.run_live(plan, options.source, speed=options.speed, output=options.output)
    return 0


def _bench(options: argparse.Namespace) -> int:
    output = ["--output", options.output] if options.output else []
    return subprocess.run([sys.executable, str(PROJECT_ROOT / "benchmarks"), *output]).returncode


def _health(options: argparse.Namespace) -> int:
    health = health_check(only=["memory"] if options.alive else ())
    if not options.verbose:  # what a probe may say to anybody: no folders, no versions
        checks = health.pop("checks")
        health["failed"] = [name for name, check in checks.items() if not check["healthy"]]
    print(json.dumps(health, indent=2 if options.verbose else None))
    return int(health["status"] != "healthy")


if __name__ == "__main__":
    sys.exit(main())
