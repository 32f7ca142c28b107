"""How numerical loops are compiled: by numba, cached on disk where that can be written."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from numba import njit

logger = logging.getLogger(__name__)
_warned: list[bool] = []


def compiled(function: Callable[..., Any]) -> Any:
    """`function` compiled at its first call, without the interpreter's lock.

    Compiled code calls only compiled functions of its own file: numba's cache looks at that file alone, so a
    change in another one would go unseen.
    """
    options = {"nogil": True, "error_model": "numpy"}
    try:
        return njit(cache=True, **options)(function)
    except (
        RuntimeError
    ) as error:  # neither the code's folder nor the home can be written: a read-only container
        if not _warned:
            logger.warning(
                "%s; set NUMBA_CACHE_DIR to a folder that can be written, or each start compiles",
                error,
            )
            _warned.append(True)
        return njit(**options)(function)
