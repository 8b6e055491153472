"""Settings for GPUs, in one place for this machine and for Dataflow. Does not import Beam."""

from __future__ import annotations

import argparse
import re
from collections.abc import Sequence
from typing import NamedTuple

from encoder.compute.machine import visible_gpus
from encoder.errors import InputError
from encoder.terminal import Parser
from pipeline.launch.accelerators import Accelerator, parse_accelerator
from pipeline.launch.checks import named_runner
from pipeline.launch.dataflow import parse_words
from pipeline.options import (
    DATAFLOW,
    DEFAULT_BATCH_SIZE,
    GPU_BATCH_SIZE,
    IN_PROCESS,
    ONE_PROCESS,
    THREADS_PER_GPU,
)


class Settings(NamedTuple):
    """Defaults of a job.

    Attributes:
        batch_size: images per batch.
        beam_options: the words of Beam's options.
        gpu: the GPUs of the workers that embed, and only of these; None for none, or if Beam's
            options ask for GPUs of all workers.
    """

    batch_size: int
    beam_options: list[str]
    gpu: Accelerator | None = None


def settings_for(gpu: str, beam_options: Sequence[str]) -> Settings:
    """Settings for this machine's GPUs, or for GPUs on Dataflow.

    Each worker machine gets one process, so that the encoder is loaded once, and threads for each
    GPU. Options that were given stay. The machine type is an exception: with ``--gpu`` it is that
    of the workers that embed. The others get Dataflow's default, since a machine of a family such
    as G2 has GPUs, and costs as much, whatever it does.

    Args:
        gpu: the GPUs of each Dataflow worker that embeds, "TYPE" or "TYPE:COUNT"; "" for none.
        beam_options: the words of the command line that are Beam's options.

    Raises:
        InputError: --gpu is wrong, or not for this runner.
    """
    runner = named_runner(beam_options)
    if gpu and runner != DATAFLOW:
        raise InputError(
            f"--gpu {gpu!r} is for --runner=DataflowRunner; on this machine GPUs are used without "
            "being asked for, and other engines have options of their own"
        )
    if runner in IN_PROCESS:
        return _here(list(beam_options))
    options, _ = parse_words(beam_options)
    given, accelerator, count = list(beam_options), None, 0
    if gpu:
        machine_type, given = _without_machine_type(given)
        accelerator = _accelerator(gpu, machine_type)
        count = accelerator.number or 1
    elif options.accelerators:
        count = parse_accelerator(options.accelerators[0]).number or 1
    if count and not options.number_of_worker_harness_threads:
        given.append(f"--number_of_worker_harness_threads={threads_for(count)}")
    if count and ONE_PROCESS not in options.experiments:
        given.append(f"--experiments={ONE_PROCESS}")
    return Settings(GPU_BATCH_SIZE if count else DEFAULT_BATCH_SIZE, given, accelerator)


def _here(given: list[str]) -> Settings:
    asked = _local_parser().parse_known_args(given)[0]
    count = len(visible_gpus())
    if count and not asked.direct_num_workers and not asked.direct_running_mode:
        given += [
            f"--direct_num_workers={threads_for(count)}",
            "--direct_running_mode=multi_threading",
        ]
    return Settings(GPU_BATCH_SIZE if count else DEFAULT_BATCH_SIZE, given)


def threads_for(gpus: int) -> int:
    """The number of threads for a worker machine with this many GPUs."""
    return THREADS_PER_GPU * gpus


def _accelerator(gpu: str, machine_type: str) -> Accelerator:
    kind, _, count = gpu.partition(":")
    if not re.fullmatch(r"[a-z][a-z0-9-]*", kind) or not re.fullmatch(r"[1-9]\d*", count or "1"):
        raise InputError(
            f"--gpu is {gpu!r}; expected a type of accelerator that Google Cloud has, such as "
            "nvidia-l4, and how many each worker gets if more than one: nvidia-l4:2"
        )
    return Accelerator(kind, int(count or 1), machine_type)


def _without_machine_type(words: list[str]) -> tuple[str, list[str]]:
    parser = Parser(add_help=False, allow_abbrev=False)
    parser.add_argument("--machine_type", "--worker_machine_type", default="")
    found, rest = parser.parse_known_args(words)
    return found.machine_type, rest


def _local_parser() -> argparse.ArgumentParser:
    """The parser of Beam's options for this machine that this module sets or reads."""
    parser = Parser(add_help=False, allow_abbrev=False)
    for name in ("direct_num_workers", "direct_running_mode"):
        parser.add_argument(f"--{name}")
    return parser
