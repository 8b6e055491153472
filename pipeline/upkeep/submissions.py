"""Jobs that were submitted to Dataflow: notes in the output, and how the jobs go.

The launcher writes a note when Dataflow has accepted a job. The commit of the run removes it. So
the notes that are left are of jobs that go on, that failed, or that were cancelled; Dataflow knows
which.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from datetime import datetime, timezone
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from encoder.storage.registry import store_for
from pipeline.dataset.files import files_below
from pipeline.dataset.layout import SUBMITTED, full_path, own_file, submission_name

if TYPE_CHECKING:
    import requests

_ENDPOINT = "https://dataflow.googleapis.com"
ENDPOINT_VARIABLE = "CLOUDSDK_API_ENDPOINT_OVERRIDES_DATAFLOW"  # of gcloud
_SCOPES = ["https://www.googleapis.com/auth/cloud-platform"]
_ASKED = 10  # jobs, the latest ones
_SECONDS = 5.0  # for each answer
# These become part of an address to which credentials are sent.
_PROJECT = re.compile(r"[a-z][-a-z0-9:.]{0,62}")
_NAME = re.compile(r"[A-Za-z0-9][-_A-Za-z0-9]{0,127}")
UNKNOWN = "unknown"


class Submission(msgspec.Struct, frozen=True):
    """A job on Dataflow.

    Attributes:
        run_id: of the run that the job is to commit.
        submitted: wall-clock time, UTC, ISO 8601.
        job_id: Dataflow's id.
        project, region: where the job is.
    """

    run_id: str
    submitted: str
    job_id: str
    project: str
    region: str

    @property
    def console(self) -> str:
        """The address where people see the job."""
        return (
            f"https://console.cloud.google.com/dataflow/jobs/{self.region}/{self.job_id}"
            f"?project={self.project}"
        )

    @property
    def cancel_command(self) -> str:
        """The command that stops the job."""
        return (
            f"gcloud dataflow jobs cancel {self.job_id} --project={self.project} "
            f"--region={self.region}"
        )


class Submitted(NamedTuple):
    """A job that has not committed its run, and how it goes.

    Attributes:
        job: the job.
        state: Dataflow's, such as running, failed or cancelled; "unknown" if it gave no answer.
        detail: the error that ended the job, or why there is no answer.
    """

    job: Submission
    state: str
    detail: str = ""


def now() -> str:
    """The time of a submission."""
    return datetime.now(timezone.utc).isoformat(timespec="milliseconds")


def write_submission(output: str, job: Submission) -> None:
    """Write the note of a job that was submitted."""
    path = full_path(output, submission_name(job.run_id))
    store_for(path).write(path, msgspec.json.encode(job))


def read_submissions(output: str, committed: Iterable[str]) -> list[Submission]:
    """The jobs of which the output has notes, the earliest first.

    Args:
        output: the dataset's folder.
        committed: ids of runs that have committed; their notes do not count.
    """
    done = set(committed)
    found = []
    for info in files_below(output, SUBMITTED):
        named = own_file(info.path)
        if named is None or named.half or named.run_id in done:
            continue
        path = full_path(output, info.path)
        try:
            job = msgspec.json.decode(store_for(path).read(path)[0], type=Submission)
        except (OSError, msgspec.MsgspecError):
            continue  # removed meanwhile by its job's commit, or no note of ours
        if job.run_id == named.run_id and _is_sound(job):
            found.append(job)
    return sorted(found, key=lambda job: (job.submitted, job.run_id))


def ask(jobs: list[Submission]) -> list[Submitted]:
    """Ask Dataflow how jobs go; of many, only of the latest. Without an answer, it says why."""
    earlier, latest = jobs[:-_ASKED], jobs[-_ASKED:]
    answers = [Submitted(job, UNKNOWN, "not asked; only the latest are") for job in earlier]
    client = _Client() if latest else None
    for job in latest:
        answers.append(client.answer(job) if client else Submitted(job, UNKNOWN))
    return answers


class _Client:
    """Asks Dataflow over HTTP; Beam's own client would load Beam."""

    def __init__(self) -> None:
        self._endpoint = os.environ.get(ENDPOINT_VARIABLE, "").rstrip("/") or _ENDPOINT
        self._session: requests.Session | None = None
        self._problem = ""

    def answer(self, job: Submission) -> Submitted:
        """The state of a job. After one failure of the connection, no other one is tried."""
        import requests
        from google.auth.exceptions import GoogleAuthError

        if not self._problem:
            try:
                return self._asked(job)
            except GoogleAuthError as error:
                self._problem = f"no credentials for Dataflow: {error}"
            except (requests.RequestException, ValueError) as error:
                self._problem = f"Dataflow gave no answer: {type(error).__name__}"
        return Submitted(job, UNKNOWN, self._problem)

    def _asked(self, job: Submission) -> Submitted:
        place = f"v1b3/projects/{job.project}/locations/{job.region}/jobs/{job.job_id}"
        found = self._get(place)
        if not isinstance(found, dict):
            return Submitted(job, UNKNOWN, str(found))
        state = str(found.get("currentState", UNKNOWN)).removeprefix("JOB_STATE_").lower()
        return Submitted(job, state, self._error(place) if state == "failed" else "")

    def _error(self, place: str) -> str:
        """The last error that the service says of a job."""
        found = self._get(f"{place}/messages?minimumImportance=JOB_MESSAGE_ERROR")
        messages = found.get("jobMessages", []) if isinstance(found, dict) else []
        texts = [str(each.get("messageText", "")) for each in messages if isinstance(each, dict)]
        return next((text for text in reversed(texts) if text), "")

    def _get(self, place: str) -> object:
        """What the service answers, as JSON; a text that gives the reason if it refuses."""
        if self._session is None:
            self._session = self._new_session()
        response = self._session.get(f"{self._endpoint}/{place}", timeout=_SECONDS)
        if response.status_code == 404:
            return "Dataflow does not know the job (any more)"
        if not response.ok:
            return f"Dataflow answered {response.status_code} {response.reason}"
        return response.json()

    def _new_session(self) -> requests.Session:
        import requests

        if self._endpoint.startswith("http://"):  # a test server; credentials are not for it
            return requests.Session()
        import google.auth
        from google.auth.transport.requests import AuthorizedSession

        session: requests.Session = AuthorizedSession(google.auth.default(scopes=_SCOPES)[0])
        return session


def _is_sound(job: Submission) -> bool:
    """Whether the values can be part of an address; anybody may have written the note."""
    return bool(
        _PROJECT.fullmatch(job.project)
        and _NAME.fullmatch(job.region)
        and _NAME.fullmatch(job.job_id)
    )
