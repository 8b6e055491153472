"""Pool feature maps to one vector in NumPy: what checks the layers, and what needs no Keras."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from encoder.spec import Pooling

GEM_P = 3.0
SMALLEST = 1e-6  # GeM's lower bound of values: powers of negative numbers are not defined


def pool_numpy(
    maps: Sequence[NDArray[np.floating]],
    pooling: Pooling,
    normalize: bool,
    gem_p: float | None = GEM_P,
) -> NDArray[np.float64]:
    """Compute what encoder.network.pooling.pool_taps computes, in float64.

    Args:
        maps: the feature maps of the taps, (n, ..., c).
        pooling, normalize, gem_p: see encoder.get_encoder.

    Returns:
        (n, dim).
    """
    vector = np.concatenate([_pool(each, pooling, gem_p or GEM_P) for each in maps], 1)
    if normalize:
        vector /= np.maximum(np.linalg.norm(vector, axis=1, keepdims=True), 1e-12)
    return vector


def _pool(values: NDArray[np.floating], pooling: Pooling, gem_p: float) -> NDArray[np.float64]:
    axes = tuple(range(1, values.ndim - 1))
    if values.ndim == 2 or pooling == "flatten":
        return values.reshape(len(values), -1).astype(np.float64)
    if pooling == "gap":
        return np.asarray(values.mean(axes, np.float64))
    if pooling == "max":
        return np.asarray(values.max(axes), np.float64)
    powers = np.maximum(values.astype(np.float64), SMALLEST) ** gem_p
    return np.asarray(powers.mean(axes) ** (1 / gem_p))
