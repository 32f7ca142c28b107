"""How the compiled code is compiled: cached on disk, one source of truth for all its files.

Numba's cache looks at the file of a function only, so a change in a function that it calls from
another file would go unseen. Here a change in any file of this folder empties all their caches.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

Float = NDArray[np.float64]
Smooth = tuple[Float, Float, Float, Float, Float]
Pair = tuple[Float, Float]

EPSILON = float(np.finfo(float).eps)
LOOSE = {"reassoc", "nsz", "contract"}
BLOCK = 1024  # sums are taken in blocks: a plain running sum of a million loses three digits


def _stamp() -> tuple[tuple[str, int, int], ...]:
    files = sorted(Path(__file__).parent.glob("*.py"))
    return tuple((file.name, file.stat().st_mtime_ns, file.stat().st_size) for file in files)


STAMP = _stamp()


def compiled(function: Callable[..., Any]) -> Any:
    """The function, compiled when first called, without the interpreter's lock."""
    return _stamped(njit(cache=True, nogil=True, error_model="numpy")(function))


def vectorised(function: Callable[..., Any]) -> Any:
    """As `compiled`, for branch-free blocks: sums may be taken in another order."""
    return _stamped(njit(cache=True, nogil=True, error_model="numpy", fastmath=LOOSE)(function))


def vectorised_sorting(function: Callable[..., Any]) -> Any:
    """As `vectorised`, for the largest and the least of numbers that are not NaN."""
    return _stamped(njit(cache=True, nogil=True, error_model="numpy", fastmath=LOOSE | {"nnan"})(function))


def _stamped(dispatcher: Any) -> Any:
    dispatcher._cache._cache_file._source_stamp = STAMP
    return dispatcher
