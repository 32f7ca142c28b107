"""Compiles numerical loops with numba; the result is cached on disk where that is possible."""

import functools
import logging
from collections.abc import Callable
from typing import Any

from numba import njit

logger = logging.getLogger(__name__)


def compiled(function: Callable[..., Any], **more: Any) -> Any:
    """`function` compiled at its first call, without the interpreter's lock.

    Compiled code calls only compiled functions of its own file: numba's cache checks that file
    alone and would miss a change in another one.
    """
    options: dict[str, Any] = {"nogil": True, "error_model": "numpy", **more}
    try:
        return njit(cache=True, **options)(function)
    # Neither the code's folder nor the home can be written, as in a read-only container: numba
    # has "no locator available".
    except RuntimeError:
        _warn_uncached()
        return njit(**options)(function)


# The order of sums depends on the processor's vector width, and so do their last digits. No number
# may be NaN.
vectorised = functools.partial(compiled, fastmath={"reassoc", "nnan", "nsz"})


@functools.cache
def _warn_uncached() -> None:
    """Warn once, although every function meets the same fault."""
    remedy = "set NUMBA_CACHE_DIR to a folder that can be written, or each start compiles anew"
    logger.warning("compiled code is not cached (no locator available); %s", remedy)
