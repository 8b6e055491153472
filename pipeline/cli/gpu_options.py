"""Settings for GPUs, in one place for this machine and for Dataflow. Does not import Beam."""

from __future__ import annotations

import argparse
import re
from collections.abc import Sequence
from typing import NamedTuple

from encoder.errors import InputError
from encoder.terminal import Parser
from pipeline.embedding.call_sizes import visible_gpus
from pipeline.options import (
    DATAFLOW,
    DEFAULT_BATCH_SIZE,
    GPU_BATCH_SIZE,
    IN_PROCESS,
    ONE_PROCESS,
    THREADS_PER_GPU,
)


class Settings(NamedTuple):
    """Defaults of a job: images per batch, and Beam's options."""

    batch_size: int
    beam_options: list[str]


def settings_for(gpu: str, beam_options: Sequence[str]) -> Settings:
    """Settings for this machine's GPUs, or for GPUs on Dataflow.

    Each worker machine gets one process, so that the encoder is loaded once, and threads for each
    GPU. Options that were given stay.

    Args:
        gpu: the GPUs of each Dataflow worker, "TYPE" or "TYPE:COUNT"; "" for none.
        beam_options: the words of the command line that are Beam's options.

    Raises:
        InputError: --gpu is wrong, or not for this runner.
    """
    asked = _parser().parse_known_args(list(beam_options))[0]
    given = list(beam_options)
    if gpu and asked.runner != DATAFLOW:
        raise InputError(
            f"--gpu {gpu!r} is for --runner=DataflowRunner; on this machine GPUs are used without "
            "being asked for, and other engines have options of their own"
        )
    if asked.runner in IN_PROCESS:
        count = len(visible_gpus())
        if count and not asked.direct_num_workers and not asked.direct_running_mode:
            given += [
                f"--direct_num_workers={threads_for(count)}",
                "--direct_running_mode=multi_threading",
            ]
    else:
        accelerators = [o for o in asked.dataflow_service_options if "worker_accelerator" in o]
        if gpu and accelerators:
            raise InputError(f"--gpu {gpu!r} and {accelerators[0]!r} both ask for GPUs; give one")
        if gpu:
            accelerators = [_accelerator(gpu)]
            given.append(f"--dataflow_service_options={accelerators[0]}")
        found = re.search(r"count:(\d+)", accelerators[0]) if accelerators else None
        count = (int(found[1]) if found else 1) if accelerators else 0
        if count and not asked.number_of_worker_harness_threads:
            given.append(f"--number_of_worker_harness_threads={threads_for(count)}")
        if count and ONE_PROCESS not in asked.experiments:
            given.append(f"--experiments={ONE_PROCESS}")
    return Settings(GPU_BATCH_SIZE if count else DEFAULT_BATCH_SIZE, given)


def threads_for(gpus: int) -> int:
    """The number of threads for a worker machine with this many GPUs."""
    return THREADS_PER_GPU * gpus


def _accelerator(gpu: str) -> str:
    kind, _, count = gpu.partition(":")
    if not re.fullmatch(r"[a-z][a-z0-9-]*", kind) or not re.fullmatch(r"[1-9]\d*", count or "1"):
        raise InputError(
            f"--gpu is {gpu!r}; expected a type of accelerator that Google Cloud has, such as "
            "nvidia-l4, and how many each worker gets if more than one: nvidia-l4:2"
        )
    return f"worker_accelerator=type:{kind};count:{count or 1};install-nvidia-driver"


def _parser() -> argparse.ArgumentParser:
    """The parser of the Beam options that this module sets or reads."""
    parser = Parser(add_help=False, allow_abbrev=False)
    parser.add_argument("--runner", default=IN_PROCESS[0])
    for name in ("direct_num_workers", "direct_running_mode", "number_of_worker_harness_threads"):
        parser.add_argument(f"--{name}")
    for name in ("dataflow_service_options", "experiments"):
        parser.add_argument(f"--{name}", action="append", default=[])
    return parser
