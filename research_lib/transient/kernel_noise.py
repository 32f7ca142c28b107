"""What kernels of a family find in noise alone, where nothing is to be found."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

Float = NDArray[np.float64]
LEVEL = 0.95
SHIFTS = np.geomspace(0.1, 10.0, 9)  # of a power law, in first lags
NOISE_DRAWS = 1000


def powers(lags: Float, half_life: float, shifts: Float) -> Float:
    """Power laws of this half-life by shift, (k, s)."""
    return (1.0 + lags[:, None] / shifts) ** (-math.log(2.0) / np.log1p(half_life / shifts))


def noise_limit(
    family: str,
    lags: Float,
    grid: Float,
    whiten: Callable[[Float], Float],
    rng: np.random.Generator,
) -> float:
    """95 % quantile of what the best kernel of a family takes off |y|^2, y standard normal: there is no impact."""
    if family == "power":
        shapes = np.concatenate(
            [powers(lags, half_life, lags[0] * SHIFTS) for half_life in grid], axis=1
        )
    else:
        shapes = np.exp(-math.log(2.0) * lags[:, None] / grid)
    noise, white = rng.standard_normal((NOISE_DRAWS, len(lags))), whiten(shapes)
    along = noise @ (white / np.linalg.norm(white, axis=0))
    gain = np.maximum(along, 0.0) ** 2
    if family == "exponential_permanent":  # two shapes: both where both help, else the better one
        still = whiten(np.ones(len(lags)))
        still /= np.linalg.norm(still)
        flat, shared = (noise @ still)[:, None], still @ (white / np.linalg.norm(white, axis=0))
        both = (along > shared * flat) & (flat > shared * along) & (shared**2 < 1.0 - 1e-9)
        pair = (along**2 + flat**2 - 2.0 * shared * along * flat) / np.maximum(
            1.0 - shared**2, 1e-9
        )
        gain = np.where(both, pair, np.maximum(gain, np.maximum(flat, 0.0) ** 2))
    return float(np.quantile(gain.max(axis=1), LEVEL))
