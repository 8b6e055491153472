"""Airflow 3: each night embed new and changed images, each week look after the dataset.

Copy this file into the folder of DAGs. Tasks call ``python -m pipeline`` in an environment of its
own, because its packages and those of Airflow need not agree. Settings are environment variables:

    EMBED_IMAGES_PYTHON   the Python of an environment in which this project is installed
    EMBED_IMAGES_INPUTS   inputs, separated by line ends
    EMBED_IMAGES_ENCODER  the encoder bundle
    EMBED_IMAGES_OUTPUT   the dataset
    EMBED_IMAGES_OPTIONS  further options of run, as a shell would read them. For Dataflow:
                          --runner=DataflowRunner --no-wait --project=… --region=… --temp_location=…
    EMBED_IMAGES_ALERT    a command that gets the message of a failure as its standard input

Exit codes decide what Airflow does: 0 is success, 2 (the command line is wrong) fails at once, and
1 (the job failed) is tried again. A finding of ``verify`` is not looked for twice.
"""

from __future__ import annotations

import datetime
import json
import os
import re
import shlex
import subprocess
from collections.abc import Sequence
from typing import Any

from airflow.sdk import DAG, BaseOperator, BaseSensorOperator
from airflow.sdk.exceptions import AirflowException, AirflowFailException

WRONG_COMMAND_LINE = 2
FINDINGS = 1
ENDED_WITHOUT_COMMIT = ("failed", "cancelled", "drained")
RETRIES = {"retries": 2, "retry_delay": datetime.timedelta(minutes=10)}


def setting(name: str) -> str:
    """The value of an environment variable.

    Raises:
        AirflowFailException: it is not set.
    """
    value = os.environ.get(f"EMBED_IMAGES_{name}", "")
    if not value and name not in ("OPTIONS", "ALERT"):
        raise AirflowFailException(f"EMBED_IMAGES_{name} is not set on the worker")
    return value


class PipelineOperator(BaseOperator):
    """Runs a command of ``python -m pipeline``.

    Args:
        command: its name, such as "verify".
        words: what stands after the name and the output.
        final: exit codes after which the task is not tried again.
    """

    def __init__(
        self,
        *,
        command: str,
        words: Sequence[str] = (),
        final: Sequence[int] = (WRONG_COMMAND_LINE,),
        **others: Any,
    ) -> None:
        super().__init__(**others)
        self.command = command
        self.words = words
        self.final = final
        self._process: subprocess.Popen[bytes] | None = None

    def execute(self, context: Any) -> None:
        """Run the command over the dataset."""
        self.call([setting("OUTPUT"), *self.words])

    def call(self, words: Sequence[str]) -> None:
        """Run the command to its end; its output is in the task's log.

        Raises:
            AirflowFailException: it ended with an exit code that is final.
            AirflowException: it ended with another one that is not 0.
        """
        line = [setting("PYTHON"), "-m", "pipeline", self.command, *words]
        self.log.info("%s", shlex.join(line))
        with subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as process:
            self._process = process
            for output in process.stdout or ():
                self.log.info("%s", output.decode(errors="replace").rstrip())
        code = process.returncode
        if code in self.final:
            raise AirflowFailException(f"{self.command} ended with exit code {code}: final")
        if code != 0:
            raise AirflowException(f"{self.command} ended with exit code {code}")

    def on_kill(self) -> None:
        """End the command with the task. A job on Dataflow that was submitted goes on."""
        if self._process is not None:
            self._process.terminate()


class LaunchOperator(PipelineOperator):
    """Starts a run, and waits for it unless its options have ``--no-wait``. Returns its id."""

    def __init__(self, **others: Any) -> None:
        super().__init__(command="run", **others)

    def execute(self, context: Any) -> str:  # type: ignore[override]
        """Start the run. Each try has an id of its own."""
        dag_run = re.sub(r"[^A-Za-z0-9]+", "-", context["run_id"])
        run_id = f"{dag_run}-{context['ti'].try_number}"[-100:].lstrip("-")
        inputs = [f"--input={each}" for each in setting("INPUTS").splitlines() if each]
        places = [f"--encoder={setting('ENCODER')}", f"--output={setting('OUTPUT')}"]
        options = shlex.split(setting("OPTIONS"))
        self.call([*inputs, *places, f"--run-id={run_id}", *options])
        return run_id


class CommittedSensor(BaseSensorOperator):
    """Waits until a run has committed, or fails with its job on Dataflow.

    Args:
        run_id: the id of the run.
    """

    template_fields = ("run_id",)

    def __init__(self, *, run_id: str, **others: Any) -> None:
        super().__init__(**others)
        self.run_id = run_id

    def poke(self, context: Any) -> bool:
        """Whether the run has committed.

        Raises:
            AirflowFailException: its job ended without a commit, or the dataset can't be read.
        """
        line = [setting("PYTHON"), "-m", "pipeline", "status", setting("OUTPUT"), "--json"]
        done = subprocess.run(line, capture_output=True, text=True, check=False)
        if done.returncode == WRONG_COMMAND_LINE:
            raise AirflowFailException(done.stderr)
        if done.returncode != 0:
            self.log.warning("status failed and is tried again: %s", done.stderr)
            return False
        status = json.loads(done.stdout)
        if self.run_id in [run["run_id"] for run in status["runs"]]:
            return True
        for job in status.get("submitted", []):
            if job["run_id"] == self.run_id:
                self.log.info("the job on Dataflow is %s: %s", job["state"], job["console"])
                if job["state"] in ENDED_WITHOUT_COMMIT:
                    raise AirflowFailException(f"the job is {job['state']}: {job['detail']}")
        return False


class AlertOperator(BaseOperator):
    """Reports that a task before it failed, and fails the DAG's run, which it would else save."""

    def execute(self, context: Any) -> None:
        """Send the message.

        Raises:
            AirflowFailException: always.
        """
        message = f"embed-images: {context['dag'].dag_id}, run {context['run_id']}, has failed"
        command = shlex.split(setting("ALERT"))
        if command:
            subprocess.run(command, input=f"{message}\n", text=True, check=True)
        raise AirflowFailException(message)


def alert() -> AlertOperator:
    """The task that runs when another one failed."""
    return AlertOperator(task_id="alert", trigger_rule="one_failed", retries=2)


COMMON: dict[str, Any] = {
    "start_date": datetime.datetime(2026, 1, 1, tzinfo=datetime.timezone.utc),
    # Nights that were missed are not caught up: one run embeds all that is new.
    "catchup": False,
    # Runs don't pile up.
    "max_active_runs": 1,
    "dagrun_timeout": datetime.timedelta(hours=20),
    "default_args": RETRIES,
}

with DAG("embed_images_nightly", schedule="0 2 * * *", **COMMON) as nightly:
    launch = LaunchOperator(task_id="launch")
    wait = CommittedSensor(
        task_id="wait",
        run_id="{{ ti.xcom_pull(task_ids='launch') }}",
        mode="reschedule",
        poke_interval=300,
        timeout=datetime.timedelta(hours=18).total_seconds(),
        retries=0,
    )
    verify = PipelineOperator(
        task_id="verify", command="verify", final=(FINDINGS, WRONG_COMMAND_LINE)
    )
    launch >> wait >> verify
    [launch, wait, verify] >> alert()

with DAG("embed_images_weekly", schedule="0 12 * * 0", **COMMON) as weekly:
    compact = PipelineOperator(task_id="compact", command="compact")
    prune = PipelineOperator(task_id="prune", command="prune", words=["--runs-older-than", "90d"])
    check = PipelineOperator(
        task_id="verify", command="verify", final=(FINDINGS, WRONG_COMMAND_LINE)
    )
    compact >> prune >> check
    [compact, prune, check] >> alert()
