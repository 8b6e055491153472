"""Check a command line before Beam is loaded and any bucket is asked: errors come at once."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence

from encoder.errors import InputError
from encoder.storage.registry import is_remote, normalize
from encoder.terminal import Parser
from pipeline.launch.accelerators import Accelerator
from pipeline.launch.dataflow import DataflowOptions, check_batch, check_dataflow, parse_words
from pipeline.launch.endpoint import SECONDS, check_endpoint
from pipeline.launch.runners import checked_runner, runner_name
from pipeline.options import DATAFLOW, IN_PROCESS, PORTABLE


def check_command(words: Sequence[str], gpu: Accelerator | None = None, wait: bool = True) -> None:
    """Check Beam's options on a command line.

    Args:
        words: the words of the command line that are Beam's options.
        gpu: the GPUs of ``--gpu``.
        wait: whether to wait until the job has ended.

    Raises:
        InputError: the job can't be started like this.
    """
    options, rest = parse_words(words)
    known = _parser().parse_known_args(rest)[0]
    _check(options, vars(known), gpu, wait)


def check_values(
    values: Mapping[str, object], gpu: Accelerator | None = None, wait: bool = True
) -> None:
    """Check Beam's options by name, as PipelineOptions.get_all_options gives them.

    Raises:
        InputError: the job can't be started like this.
    """
    _check(DataflowOptions.of(values), values, gpu, wait)


def check_plans(runner: str) -> None:
    """Raise InputError if a runner can't say what planning found."""
    if runner == DATAFLOW:
        raise InputError(
            "plan runs on this machine, and takes no --runner=DataflowRunner: Dataflow does not "
            "give back what planning found. Leave the options of Beam out"
        )


def check_places(runner: str, encoder: str, output: str, inputs: Sequence[str]) -> None:
    """Raise InputError if workers on Dataflow can't reach the encoder, the output or an input."""
    if runner != DATAFLOW:
        return
    paths = {"--encoder": encoder, "--output": output}
    paths |= {f"--input {text}": text for text in inputs}
    for option, path in paths.items():
        if not is_remote(normalize(path)):
            raise InputError(f"{option}: workers on Dataflow can't reach {path}; use gs://")


def named_runner(words: Sequence[str]) -> str:
    """The runner that a command line names, or the default one."""
    return runner_name(_parser().parse_known_args(list(words))[0].runner)


def _check(
    options: DataflowOptions, others: Mapping[str, object], gpu: Accelerator | None, wait: bool
) -> None:
    runner = checked_runner(str(others.get("runner") or IN_PROCESS[0]))
    check_batch(options)
    if runner == DATAFLOW:
        check_dataflow(options, gpu)
        return
    if options.template_location:
        raise InputError("--template_location is for --runner=DataflowRunner")
    if not wait:
        raise InputError(
            f"--no-wait is for --runner=DataflowRunner; a job on {runner} needs this process until "
            "it ends"
        )
    endpoint = str(others.get("job_endpoint") or "")
    if runner == PORTABLE[0] and not endpoint:
        raise InputError(
            f"--runner={runner} needs --job_endpoint=HOST:PORT, the address of a job service"
        )
    if runner in PORTABLE and endpoint:
        asked = str(others.get("job_server_timeout") or "")
        check_endpoint(endpoint, float(asked) if asked.isdecimal() else SECONDS)


def _parser() -> argparse.ArgumentParser:
    parser = Parser(add_help=False, allow_abbrev=False)
    parser.add_argument("--runner", default=IN_PROCESS[0])
    parser.add_argument("--job_endpoint", default="")
    parser.add_argument("--job_server_timeout", "--job-server-timeout", default="")
    return parser
