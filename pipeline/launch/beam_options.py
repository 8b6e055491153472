"""Parse and check Beam's own options, and find what follows from them."""

from __future__ import annotations

from collections.abc import Sequence

from apache_beam.io.filesystems import FileSystems
from apache_beam.options.pipeline_options import (
    DebugOptions,
    DirectOptions,
    PipelineOptions,
    StandardOptions,
    _BeamArgumentParser,
)

from encoder.errors import InputError
from pipeline.launch.runners import checked_runner
from pipeline.options import DATAFLOW, IN_PROCESS, ONE_PROCESS


def parse_beam_options(arguments: Sequence[str]) -> PipelineOptions:
    """Parse Beam's options, and apply them to Beam's file systems.

    Raises:
        InputError: neither this project nor Beam has such an option, or the runner can't be used;
            the message names it.
    """
    parser = _BeamArgumentParser(allow_abbrev=False, exit_on_error=False)
    for group in _option_groups(PipelineOptions):
        group._add_argparse_args(parser)
    try:
        _, unknown = parser.parse_known_args(list(arguments))
    except Exception as error:  # argparse.ArgumentError, and errors of Beam's own types
        raise InputError(f"wrong Beam option: {error}") from error
    if unknown:
        raise InputError(
            f"unknown option {unknown[0]!r}: neither this job nor Apache Beam has it; see "
            "'python -m pipeline run --help'"
        )
    options = PipelineOptions(list(arguments))
    standard = options.view_as(StandardOptions)
    standard.runner = checked_runner(standard.runner or IN_PROCESS[0])
    FileSystems.set_options(options)  # new_job may read lists before a pipeline exists
    return options


def runner_of(options: PipelineOptions) -> str:
    """The name of the runner, such as "FnApiRunner"."""
    return str(options.view_as(StandardOptions).runner)


def is_in_process(options: PipelineOptions) -> bool:
    """Whether the job runs on this machine, by Beam's own in-process runner."""
    return runner_of(options) in IN_PROCESS


def is_on_dataflow(options: PipelineOptions) -> bool:
    """Whether the job runs on Dataflow."""
    return bool(options.view_as(StandardOptions).runner == DATAFLOW)


def has_many_processes(options: PipelineOptions) -> bool:
    """Whether a worker machine runs several processes, which then share one encoder."""
    if is_in_process(options):
        return bool(options.view_as(DirectOptions).direct_running_mode == "multi_processing")
    return ONE_PROCESS not in (options.view_as(DebugOptions).experiments or [])


def _option_groups(group: type[PipelineOptions]) -> list[type[PipelineOptions]]:
    groups = {each: None for each in group.__subclasses__() if "_add_argparse_args" in vars(each)}
    for each in group.__subclasses__():
        groups.update(dict.fromkeys(_option_groups(each)))
    return list(groups)
