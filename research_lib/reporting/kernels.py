"""The process beside each kernel: runs the notebooks it is sent with papermill, one by one.

Started by `supervision`; a line of JSON on its standard input is a notebook to run, a line of
JSON on its standard output what became of it. When the input ends, whoever started it is gone:
it then ends its kernel and itself, whatever they are doing.
"""

from __future__ import annotations

import json
import os
import queue
import re
import shutil
import sys
import threading
import time
from pathlib import Path
from typing import IO, Any

KERNEL_ARGUMENTS = [
    "--log-level=ERROR"
]  # a kernel's warning about local TCP is no news to a report
LONGEST_ERROR = 500  # characters of a notebook's error that are reported


def run_notebook(task: dict[str, Any]) -> dict[str, Any]:
    """Run one notebook; a kernel that does not come up is started again, a cell that fails is not.

    Parameters
    ----------
    task : dict
        `notebook` and `target` (paths), `parameters`, `retries` of a kernel's start, and
        `profile`, a file for cProfile's records of the kernel or "".

    Returns
    -------
    dict
        `status` "done" or "failed", `attempts`; where it failed also `kind` ("cell" or
        "kernel"), `error`, and `cell` and `line`, the source of the cell and the line it
        stopped at.
    """
    from nbclient.exceptions import CellTimeoutError, DeadKernelError
    from papermill.exceptions import PapermillExecutionError

    attempt = 1
    while True:
        try:
            _execute(task)
            return {"status": "done", "attempts": attempt}
        except PapermillExecutionError as error:
            failed = {
                "kind": "cell",
                "error": f"{error.ename}: {error.evalue}",
                "cell": error.source,
            }
            failed["line"] = _failing_line(error.traceback)
            break
        except (DeadKernelError, CellTimeoutError, RuntimeError, OSError) as error:
            failed = {
                "kind": "kernel",
                "error": f"{type(error).__name__}: {error}",
                "cell": running_cell(Path(task["target"])),
                "line": "",
            }
            if failed["cell"] or attempt > task["retries"]:
                break
            time.sleep(0.5 * attempt)  # such as a port that another kernel has just taken
            attempt += 1
    error_text = " ".join(failed["error"].split())[:LONGEST_ERROR]
    return {"status": "failed", "attempts": attempt, **failed, "error": error_text}


def _failing_line(traceback: list[str]) -> str:
    """The cell's line that IPython's arrow points to."""
    plain = re.sub(r"\x1b\[[0-9;]*m", "", "\n".join(traceback))
    found = re.search(r"^-+> +\d+ (.*)$", plain, re.MULTILINE)
    return found.group(1).strip() if found else ""


def _execute(task: dict[str, Any]) -> None:
    import papermill

    papermill.execute_notebook(
        task["notebook"],
        task["target"],
        parameters=task["parameters"],
        kernel_name="python3",
        progress_bar=False,
        extra_arguments=[*KERNEL_ARGUMENTS, *_profiling(task["profile"])],
    )


def _profiling(path: str) -> list[str]:
    """Arguments that make a kernel profile itself and leave the records when it ends."""
    if not path:
        return []
    lines = (
        "import atexit, cProfile as _c",
        f"_p = _c.Profile(); atexit.register(lambda: (_p.disable(), _p.dump_stats({path!r}))); "
        "_p.enable()",
    )
    return [f"--IPKernelApp.exec_lines={line}" for line in lines]


def running_cell(target: Path) -> str:
    """Source of the cell that ran when papermill last saved; empty if none had, or a cut save."""
    try:
        cells = json.loads(target.read_text(encoding="utf-8"))["cells"]
    except (FileNotFoundError, json.JSONDecodeError):
        return ""
    code = [cell for cell in cells if cell["cell_type"] == "code"]
    # papermill marks cells that never started "completed" too
    begun = [one for one in code if one["metadata"].get("papermill", {}).get("start_time")]
    return "".join(begun[-1]["source"]) if begun else ""


def main() -> None:
    """Answer tasks until the input ends."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # what libraries and kernels print is no answer
    tasks: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
    current: list[str] = []
    threading.Thread(target=_listen, args=(sys.stdin, tasks, current), daemon=True).start()
    while True:
        task = tasks.get()
        current[:] = [task["work"]]
        os.environ["RESEARCH_DATA"] = task["data"]
        answer = run_notebook(task)
        current.clear()
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


def _listen(lines: IO[str], tasks: queue.SimpleQueue[dict[str, Any]], current: list[str]) -> None:
    """Pass tasks on; at the end of the input leave no kernel, no work folder and no process."""
    for line in lines:
        tasks.put(json.loads(line))
    import psutil

    for process in psutil.Process().children(recursive=True):
        process.kill()
    for work in current:
        shutil.rmtree(work, ignore_errors=True)
    os._exit(0)


if __name__ == "__main__":
    main()
