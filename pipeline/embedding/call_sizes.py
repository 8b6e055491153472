"""How calls of the encoder share the cores of a worker machine."""

from __future__ import annotations

import math
import os
from typing import NamedTuple

from encoder.compute.machine import CPU_CALL, threads_per_call, usable_cores, visible_gpus


def share_cores(height: int, width: int) -> None:
    """Let calls run in parallel, on one core each. Call this before Keras is imported.

    A TF_NUM_INTRAOP_THREADS that is set already wins. With a GPU, nothing changes.

    Args:
        height: of the encoder's images, in pixels.
        width: likewise.
    """
    if not visible_gpus():
        os.environ.setdefault("TF_NUM_INTRAOP_THREADS", str(threads_per_call(height, width)))


def images_together(batch_size: int, height: int, width: int) -> int:
    """How many images the encoder gets at once: a batch, or on a CPU enough for all cores.

    Args:
        batch_size: images per call of the encoder at most.
        height: of the encoder's images, in pixels.
        width: likewise.
    """
    if visible_gpus():
        return batch_size
    calls = usable_cores() // threads_per_call(height, width)
    busy = min(batch_size, CPU_CALL) * calls
    return math.ceil(batch_size / busy) * busy


class CallSettings(NamedTuple):
    """The settings that decide how many images the encoder gets at once.

    Attributes:
        batch_size: images per call of the encoder at most.
        height: of the encoder's images, in pixels.
        width: likewise.
    """

    batch_size: int
    height: int
    width: int

    def images_together(self) -> int:
        """The number on this machine; see the function images_together."""
        return images_together(self.batch_size, self.height, self.width)
