"""Hand the job to a Beam runner, and wait for it."""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import os
import re

import apache_beam as beam
from apache_beam.options.pipeline_options import (
    GoogleCloudOptions,
    PipelineOptions,
    StandardOptions,
    TestOptions,
)
from apache_beam.runners.runner import PipelineResult, PipelineRunner

from encoder.errors import InputError
from encoder.storage.base import temporary_name
from encoder.storage.registry import is_remote, store_for
from encoder.terminal import say, silenced_stderr
from pipeline.dataset.layout import RUNS, full_path
from pipeline.dataset.manifest import RunRecord, read_manifest, read_record
from pipeline.errors import JobError
from pipeline.graph import add_plan, build
from pipeline.launch.accelerators import parse_accelerator
from pipeline.launch.beam_options import (
    has_many_processes,
    is_in_process,
    is_on_dataflow,
    runner_of,
)
from pipeline.launch.checks import check_plans, check_values
from pipeline.launch.dataflow import flex_job
from pipeline.launch.explain import explain, quiet_threads
from pipeline.launch.quick_graphs import quick_graphs
from pipeline.launch.submission import (
    check_buckets,
    complete,
    job_messages,
    say_submitted,
    say_template,
    submission_of,
    wait_for,
)
from pipeline.launch.workers import watch_workers
from pipeline.options import IN_PROCESS
from pipeline.runs.foreseen import Foreseen
from pipeline.runs.job import Job
from pipeline.steps.forecast import FORECAST, Forecast
from pipeline.steps.outputs import METRICS
from pipeline.upkeep.submissions import now, write_submission


@quick_graphs()
def run(job: Job, options: PipelineOptions, wait: bool = True) -> RunRecord | None:
    """Run the job.

    Args:
        job: the run.
        options: Beam's.
        wait: whether to wait until the job has ended; only jobs on Dataflow go on without.

    Returns:
        The run record. None for a dry run, for a template, and for a job that is not waited for;
        lines on stdout say what was done instead.

    Raises:
        InputError: the options do not go together.
        JobError: the run failed.
    """
    gpu = parse_accelerator(job.accelerator) if job.accelerator else None
    check_values(options.get_all_options(), gpu, wait)
    if options.view_as(TestOptions).dry_run and is_in_process(options):
        raise InputError(
            "--dry_run is for Dataflow, and builds a job without starting it; to see what a run "
            "would do, use 'python -m pipeline plan'"
        )
    template = options.view_as(GoogleCloudOptions).template_location
    job = dataclasses.replace(
        job,
        across_processes=has_many_processes(options),
        is_template=bool(template) and not flex_job(template),
        runner=runner_of(options),
    )
    _check_reachable(job, options)
    _check_output(job)
    check_new_run_id(job)
    pipeline = _new_pipeline(options)
    build(pipeline, job)
    if is_on_dataflow(options):
        ended = _finish_on_dataflow(pipeline, job, options, wait)
    else:
        ended = _finish(pipeline, options) is not None
    return read_record(job.output, job.run_id) if ended else None


@quick_graphs()
def plan(job: Job, options: PipelineOptions) -> Foreseen:
    """What a run would find and count that starts now. Writes nothing.

    Raises:
        InputError: the options do not go together.
        JobError: the inputs or the output can't be read.
    """
    check_plans(options.view_as(StandardOptions).runner or IN_PROCESS[0])
    _check_place(job)
    check_new_run_id(job)
    pipeline = _new_pipeline(options)
    planned = add_plan(pipeline, job, remember=False)
    pipeline | "Forecast" >> Forecast(
        counts=planned.plan.counts,
        notes=planned.notes,
        loose=planned.plan.loose,
        packed=planned.plan.packed,
        buckets=job.buckets,
        contents=planned.known.contents,
        output=job.output,
        packing=job.packing,
        most=job.options.max_bytes,
        storage=job.storage,
    )
    result = _finish(pipeline, options)
    if result is None:
        raise InputError("--dry_run is for run; plan writes nothing anyway")
    query = beam.metrics.MetricsFilter().with_namespace(METRICS).with_name(FORECAST)
    for found in result.metrics().query(query)["string_sets"]:
        for text in found.result:
            return Foreseen.from_text(text)
    raise JobError("the runner gave no result of the plan; try --runner FnApiRunner")


def _finish_on_dataflow(
    pipeline: beam.Pipeline, job: Job, options: PipelineOptions, wait: bool
) -> bool:
    """Submit a job, and wait until it has ended. Returns whether its run has a record now."""
    if not options.view_as(TestOptions).dry_run:
        check_buckets(options)
    with job_messages():
        try:
            result = pipeline.run()
        except Exception as error:
            logging.getLogger(__name__).info("the job was not submitted", exc_info=True)
            raise JobError(f"the job was not submitted: {explain(error)}") from error
        if options.view_as(TestOptions).dry_run:
            say("dry run: the job was built, and not started")
            return False
        submission = submission_of(result, options, job.run_id, now())
        if submission is None:
            say_template(options)
            return False
        write_submission(job.output, submission)
        if not wait or not result.has_job:
            say_submitted(submission, job.output)
            return False
        wait_for(result, submission)
        return True


def _finish(pipeline: beam.Pipeline, options: PipelineOptions) -> PipelineResult | None:
    try:
        with _quiet_workers(options), quiet_threads():
            result = pipeline.run()
            if options.view_as(TestOptions).dry_run:
                return None
            state = result.wait_until_finish()
    except Exception as error:  # runners wrap a step's error, with its traceback as text
        if re.search(r"\bKeyboardInterrupt\b", str(error)):
            raise KeyboardInterrupt from error
        logging.getLogger(__name__).info("the pipeline failed", exc_info=True)
        raise JobError(explain(error)) from error
    if state != "DONE":
        raise JobError(f"the runner ended the job in state {state}")
    return result


def _quiet_workers(options: PipelineOptions) -> contextlib.AbstractContextManager[None]:
    """Suppress the tracebacks that worker processes print; the job reports the error itself."""
    several = is_in_process(options) and has_many_processes(options)
    if several and logging.root.manager.disable >= logging.CRITICAL:
        return silenced_stderr()
    return contextlib.nullcontext()


def _new_pipeline(options: PipelineOptions) -> beam.Pipeline:
    if is_on_dataflow(options):
        complete(options)
    try:
        return beam.Pipeline(runner=_runner(options), options=options)
    except (ValueError, ImportError, AttributeError) as error:
        raise InputError(f"wrong Beam option: {error}") from error


def _runner(options: PipelineOptions) -> PipelineRunner | str:
    name = options.view_as(StandardOptions).runner
    if name not in IN_PROCESS:
        return name
    from apache_beam.portability.api import beam_provision_api_pb2
    from apache_beam.runners.portability.fn_api_runner import FnApiRunner
    from apache_beam.runners.portability.fn_api_runner.fn_runner import ExtendedProvisionInfo
    from apache_beam.runners.portability.portable_runner import JobServiceHandle

    watch_workers()
    # Worker processes get the options only from here.
    encoded = JobServiceHandle.encode_pipeline_options(options.get_all_options())
    return FnApiRunner(
        provision_info=ExtendedProvisionInfo(
            beam_provision_api_pb2.ProvisionInfo(pipeline_options=encoded)
        )
    )


def _check_reachable(job: Job, options: PipelineOptions) -> None:
    if not is_on_dataflow(options):
        return
    local = {
        "--encoder": job.bundle,
        "--output": job.output,
        **{f"--input {each.text}": each.base for each in job.inputs},
    }
    for option, path in local.items():
        if not is_remote(path):
            raise InputError(f"{option}: workers on Dataflow can't reach {path}; use gs://")


def _check_output(job: Job) -> None:
    if is_remote(job.output):
        probe = full_path(job.output, f"{RUNS}/{temporary_name('probe')}")
        try:
            store_for(probe).create(probe, b"")
            store_for(probe).delete(probe)
        except OSError as error:
            raise InputError(f"--output {job.output!r} can't be written: {error}") from error
    else:
        try:
            os.makedirs(job.output, exist_ok=True)
        except OSError as error:
            raise InputError(f"--output {job.output!r} can't be made: {error.strerror}") from error
        if not os.access(job.output, os.W_OK | os.X_OK):
            raise InputError(f"--output {job.output!r} can't be written: permission denied")


def _check_place(job: Job) -> None:
    """Check, without making anything, that a local output could be made and written."""
    if is_remote(job.output):
        return
    place = job.output
    while not os.path.lexists(place):
        place = os.path.dirname(place)
    if not os.path.isdir(place):
        raise InputError(f"--output {job.output!r} can't be made: {place} is not a folder")
    if not os.access(place, os.W_OK | os.X_OK):
        raise InputError(f"--output {job.output!r} can't be written: permission denied")


def check_new_run_id(job: Job) -> None:
    """Raise InputError if a committed run already has this run's id."""
    if job.run_id in read_manifest(job.output)[0].runs:
        raise InputError(f"--run-id {job.run_id!r} is taken: a run of that id has committed here")
