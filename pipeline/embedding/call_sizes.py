"""How calls of the encoder share the cores of a worker machine."""

from __future__ import annotations

import math
import os

from encoder.compute.machine import CPU_CALL, threads_per_call, usable_cores
from pipeline.cli.gpu_options import visible_gpus


def share_cores(height: int, width: int) -> None:
    """Let calls run side by side, a core each; before Keras is imported, else it has no effect.

    Who sets TF_NUM_INTRAOP_THREADS decides otherwise. Nothing changes where there is a GPU.

    Args:
        height: of the encoder's images, in pixels.
        width: likewise.
    """
    if not visible_gpus():
        os.environ.setdefault("TF_NUM_INTRAOP_THREADS", str(threads_per_call(height, width)))


def images_together(batch_size: int, height: int, width: int) -> int:
    """How many images the encoder gets together: a batch, on a CPU as many as leave no core idle.

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
