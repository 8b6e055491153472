"""A job on Dataflow: what is said while it is submitted and runs, and where it can be seen."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator

from apache_beam.options.pipeline_options import GoogleCloudOptions, PipelineOptions, WorkerOptions
from apache_beam.runners.runner import PipelineResult

from encoder.errors import InputError
from encoder.storage.registry import check_reachable
from encoder.terminal import logs_shown, say
from pipeline.errors import JobError
from pipeline.launch.dataflow import default_region, flex_job
from pipeline.launch.explain import explain
from pipeline.upkeep.submissions import Submission

_LOGGER = "apache_beam.runners.dataflow"
# Beam's messages at the level INFO that people and schedulers read: Airflow and Vertex AI find the
# job's id by the first two. The others hold whole requests, or count bytes of uploads.
_WANTED = (
    "Created job with id",
    "Submitted job",
    "To access the Dataflow monitoring console",
    "Job %s is in state",
)
_OF_SERVICE = ": JOB_MESSAGE_"  # what the service says of the job


def complete(options: PipelineOptions) -> None:
    """Set the options that others stand for, as Beam would, or would only do for Google's endpoint.

    The region comes from gcloud's variable, never from gcloud: Beam would start it and wait.
    """
    cloud, workers = options.view_as(GoogleCloudOptions), options.view_as(WorkerOptions)
    cloud.region = cloud.region or default_region()
    cloud.temp_location = cloud.temp_location or cloud.staging_location
    cloud.staging_location = cloud.staging_location or cloud.temp_location
    image = workers.sdk_container_image or workers.worker_harness_container_image
    workers.sdk_container_image = workers.worker_harness_container_image = image


def check_buckets(options: PipelineOptions) -> None:
    """Check within seconds that the buckets for the job's files are there; Beam tries for minutes.

    Raises:
        InputError: one is not accessible.
    """
    cloud = options.view_as(GoogleCloudOptions)
    for name in ("temp_location", "staging_location", "template_location"):
        path = getattr(cloud, name)
        try:
            if path:
                check_reachable(path)
        except OSError as error:
            raise InputError(f"--{name}: {error}") from error


@contextlib.contextmanager
def job_messages() -> Iterator[None]:
    """Show on stderr what Beam logs about a job on Dataflow, with its id first of all."""
    with logs_shown(_LOGGER, _is_wanted):
        yield


def _is_wanted(record: logging.LogRecord) -> bool:
    text = str(record.msg)
    return record.levelno >= logging.WARNING or text.startswith(_WANTED) or _OF_SERVICE in text[:80]


def submission_of(
    result: PipelineResult, options: PipelineOptions, run_id: str, started: str
) -> Submission | None:
    """What identifies a submitted job; None if only a template was written."""
    cloud = options.view_as(GoogleCloudOptions)
    job_id = result.job_id() if result.has_job else flex_job(cloud.template_location or "")
    return Submission(run_id, started, job_id, cloud.project, cloud.region) if job_id else None


def wait_for(result: PipelineResult, job: Submission) -> None:
    """Wait until a job on Dataflow has ended.

    Raises:
        JobError: it failed, or was cancelled.
        KeyboardInterrupt: the user stopped waiting; the job goes on.
    """
    try:
        state = result.wait_until_finish()
    except KeyboardInterrupt:
        raise KeyboardInterrupt(
            f"stopped waiting; the job {job.job_id} goes on, see {job.console}. To stop it: "
            f"{job.cancel_command}"
        ) from None
    except Exception as error:
        logging.getLogger(__name__).info("the job failed", exc_info=True)
        raise JobError(f"{_reason(str(result.state), error)}. The job: {job.console}") from error
    if state != "DONE":
        raise JobError(f"{_reason(str(state), None)}. The job: {job.console}")


def _reason(state: str, error: Exception | None) -> str:
    if state in ("CANCELLED", "DRAINED", "UPDATED"):
        return f"the job was {state.lower()}; what it had embedded is kept for the next run"
    reason = explain(error) if error is not None else "None"
    return f"the job ended in state {state}, without a message" if reason == "None" else reason


def say_submitted(job: Submission, output: str) -> None:
    """Print where a job can be seen that nobody waits for."""
    say(f"submitted job {job.job_id}, run {job.run_id}; not waiting for it")
    say(f"console   {job.console}")
    say(f"status    python -m pipeline status {output}")
    say(f"cancel    {job.cancel_command}", at_once=True)


def say_template(options: PipelineOptions) -> None:
    """Print where a template is, and how a run is started from it."""
    cloud = options.view_as(GoogleCloudOptions)
    say(f"template  {cloud.template_location}; each execution is a run of its own")
    say(
        f"start it  gcloud dataflow jobs run NAME --project={cloud.project} "
        f"--region={cloud.region} --gcs-location={cloud.template_location}",
        at_once=True,
    )
