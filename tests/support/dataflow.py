"""A server on this machine that takes Dataflow's place: it keeps requests, and can run the jobs.

It answers what Beam and ``status`` ask: create, get, messages, metrics. A job that it runs comes
from the pipeline that was staged in the bucket, as on Dataflow; its workers are Beam's, in this
process.
"""

from __future__ import annotations

import contextlib
import json
import re
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.portability import python_urns
from apache_beam.portability.api import beam_runner_api_pb2
from apache_beam.runners.portability.fn_api_runner import FnApiRunner
from google.cloud import dataflow

from encoder.storage.registry import store_for

_PLACE = re.compile(
    r"/v1b3/projects/(?P<project>[^/]+)/locations/(?P<region>[^/]+)/jobs"
    r"(?:/(?P<job>[^/?]+))?(?:/(?P<what>messages|metrics))?(?:\?.*)?"
)
Work = Callable[[dict], None]


def pipeline_of(job: dict) -> beam_runner_api_pb2.Pipeline:
    """The pipeline of a create request or a template."""
    url = job["environment"]["sdkPipelineOptions"]["options"]["pipelineUrl"]
    return beam_runner_api_pb2.Pipeline.FromString(store_for(url).read(url)[0])


def execute(job: dict) -> None:
    """Run the pipeline of a create request or a template, without containers."""
    proto = pipeline_of(job)
    for environment in proto.components.environments.values():
        environment.urn, environment.payload = python_urns.EMBEDDED_PYTHON, b""
    FnApiRunner().run_via_runner_api(proto, PipelineOptions([])).wait_until_finish()


class FakeDataflow:
    """The server's state.

    Attributes:
        created: the body of each create request.
        places: (project, region) of each.
        work: what a job does; an error makes it fail. None: jobs stay in `state`.
        state: of jobs that do nothing.
        error: the service's message of a failed job.
        refusal: (status, message) of the answer to create requests; None to accept them.
        authorized: the headers with credentials that were sent.
    """

    def __init__(self) -> None:
        self.created: list[dict] = []
        self.places: list[tuple[str, str]] = []
        self.work: Work | None = None
        self.state = "JOB_STATE_RUNNING"
        self.error = ""
        self.refusal: tuple[int, str] | None = None
        self.authorized: list[str] = []
        self._threads: dict[str, threading.Thread] = {}
        self._asked: dict[str, int] = {}
        self.lost: set[str] = set()

    def create(self, project: str, region: str, body: dict) -> dict:
        """Accept a job."""
        job = f"2026-11-27_00_00_00-{len(self.created)}"
        self.created.append(_named(body))
        self.places.append((project, region))
        if self.work is not None:
            thread = threading.Thread(target=self._run, args=(self.work, body), daemon=True)
            self._threads[job] = thread
            thread.start()
        return self._job(job, body["name"], "JOB_STATE_PENDING", body.get("clientRequestId", ""))

    def get(self, job: str) -> dict:
        """How a job goes: pending at first, then running, then what came of it."""
        asked = self._asked[job] = self._asked.get(job, 0) + 1
        thread = self._threads.get(job)
        state = self.state
        if thread is not None:
            thread.join(0.2)
            state = "JOB_STATE_RUNNING"
            if not thread.is_alive():
                state = "JOB_STATE_FAILED" if self.error else "JOB_STATE_DONE"
        return self._job(job, "job", "JOB_STATE_PENDING" if asked <= 2 and thread else state, "")

    def messages(self, job: str) -> dict:
        """What the service says of a job."""
        texts = [("JOB_MESSAGE_BASIC", "Worker configuration: n1-standard-1 in europe-west4-a.")]
        if self.error:
            texts.append(("JOB_MESSAGE_ERROR", self.error))
        times = (f"2026-11-27T00:00:0{n}Z" for n in range(9))
        return {
            "jobMessages": [
                {"id": str(n), "time": time, "messageText": text, "messageImportance": kind}
                for n, (time, (kind, text)) in enumerate(zip(times, texts, strict=False))
            ]
        }

    def finish(self, job: str) -> None:
        """Wait until a job's work is done."""
        self._threads[job].join()

    def _run(self, work: Work, body: dict) -> None:
        try:
            work(body)
        except Exception as error:
            self.error = self.error or str(error)

    def _job(self, job: str, name: str, state: str, request: str) -> dict:
        return {"id": job, "name": name, "currentState": state, "clientRequestId": request}


def _named(body: dict) -> dict:
    """A request with the names of its enums; Beam's client sends their numbers."""
    job = dataflow.Job.from_json(json.dumps(body))
    text = dataflow.Job.to_json(
        job, use_integers_for_enums=False, always_print_fields_with_no_presence=False
    )
    return json.loads(text)


@contextlib.contextmanager
def serving() -> Iterator[tuple[FakeDataflow, str]]:
    """Start the server. Gives its state and its address."""
    service = FakeDataflow()

    class Handler(BaseHTTPRequestHandler):
        def _answer(self, status: int, body: object) -> None:
            data = json.dumps(body).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def _refuse(self, status: int, message: str) -> None:
            self._answer(status, {"error": {"code": status, "message": message}})

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            found = _PLACE.fullmatch(self.path)
            if service.refusal is not None:
                self._refuse(*service.refusal)
            elif found and not found["job"]:
                self._answer(200, service.create(found["project"], found["region"], body))
            else:
                self._refuse(404, f"no such place: {self.path}")

        def do_GET(self) -> None:
            service.authorized += self.headers.get_all("Authorization", [])
            found = _PLACE.fullmatch(self.path)
            if not found or not found["job"] or found["job"] in service.lost:
                self._refuse(404, f"no such place: {self.path}")
            elif found["what"] == "messages":
                self._answer(200, service.messages(found["job"]))
            else:
                self._answer(200, {"metrics": []} if found["what"] else service.get(found["job"]))

        def log_message(self, *_: object) -> None:
            """Print nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    try:
        yield service, f"http://localhost:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
