"""Run every bench_*.py and join what they write into one page; run as ``python benchmarks``.

A benchmark is a script that writes one section of Markdown to stdout and exits with 1 if a
limit is missed. Each has a process of its own: a child's peak of memory begins at its parent's.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import os
import platform
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
PACKAGES = ("numpy", "pandas", "numba", "pyarrow")


def main() -> int:
    """Write the page; 1 if any limit is missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, default=HERE.parent / "reports" / "benchmarks.md")
    options = parser.parse_args()
    done = [run(script) for script in sorted(HERE.glob("bench_*.py"))]
    options.output.write_text(
        "\n".join([heading(), *(one.stdout for one in done)]), encoding="utf-8"
    )
    return max(one.returncode for one in done)


def run(script: Path) -> subprocess.CompletedProcess[str]:
    """Output of one benchmark; ends the run if it wrote nothing, which a missed limit does not excuse."""
    sys.stderr.write(f"{script.name}\n")
    done = subprocess.run([sys.executable, str(script)], stdout=subprocess.PIPE, text=True)
    if not done.stdout:
        raise SystemExit(
            f"{script.name} failed with exit status {done.returncode} and wrote no section"
        )
    return done


def heading() -> str:
    """Title, how to rerun, and on what it was measured."""
    versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in PACKAGES)
    return f"""# Benchmarks

Written by `make bench`. The ratios are taken within one run and carry over; the times are those of this
machine: {processor()}, {os.cpu_count()} cores, Python {platform.python_version()}, {versions}.
"""


def processor() -> str:
    """The processor's name where the system tells it, else its architecture."""
    names = Path("/proc/cpuinfo")
    lines = names.read_text(encoding="utf-8").splitlines() if names.is_file() else []
    found = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return found[0] if found else platform.machine()


if __name__ == "__main__":
    sys.exit(main())
