"""Worker processes on this machine: they end with the job, and the job fails if one is killed.

Beam's own workers still write after the process that started them was killed, even during the next
run. And if a worker is killed, Beam waits for its response forever.
"""

from __future__ import annotations

import os
import shlex
import sys
import threading
import time

from apache_beam.portability import python_urns
from apache_beam.portability.api import beam_fn_api_pb2
from apache_beam.runners.portability.fn_api_runner.worker_handlers import (
    ControlFuture,
    SubprocessSdkWorkerHandler,
    WorkerHandler,
)

from encoder.terminal import finish, guard_output
from pipeline.errors import JobError

WORKER_ENDED = (
    "a worker process has ended unexpectedly; the system kills one when memory runs out. What was "
    "finished is not lost: start the job again"
)
_LOOK_SECONDS = 0.5


def watch_workers() -> None:
    """Make Beam's in-process runner start its worker processes with this module."""
    WorkerHandler.register_environment(python_urns.SUBPROCESS_SDK, bytes)(_WatchedWorkerHandler)


class _WatchedWorkerHandler(SubprocessSdkWorkerHandler):  # type: ignore[misc]
    """Fails the requests to a worker process that has ended."""

    def __init__(self, _: bytes, *others: object) -> None:
        # With exec, no shell stands between the two processes.
        command = f"exec {shlex.quote(sys.executable)} -m {__name__} {os.getpid()}"
        super().__init__(command.encode(), *others)
        self._ended = threading.Event()
        self._push = self.control_conn.push
        self.control_conn.push = self._push_unless_ended

    def start_worker(self) -> None:
        super().start_worker()
        threading.Thread(target=self._watch, daemon=True).start()

    def _push_unless_ended(self, request: beam_fn_api_pb2.InstructionRequest) -> ControlFuture:
        future = self._push(request)
        if self._ended.is_set():
            self._answer()
        return future

    def _watch(self) -> None:
        self.worker_thread.join()
        self._ended.set()
        self._answer()

    def _answer(self) -> None:
        waiting = self.control_conn._futures_by_id
        for name in list(waiting):
            future = waiting.pop(name, None)
            if future is not None:
                name_of_error = f"{JobError.__module__}.{JobError.__qualname__}"
                error = f"{name_of_error}: {WORKER_ENDED}"  # as in a traceback; see explain
                future.set(beam_fn_api_pb2.InstructionResponse(instruction_id=name, error=error))


def _end_with(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(_LOOK_SECONDS)
    os._exit(1)


def main() -> None:
    """Run a worker process, as a child of the process whose id is the last argument."""
    from apache_beam.runners.worker import sdk_worker_main

    guard_output()
    parent = int(sys.argv.pop())
    threading.Thread(target=_end_with, args=(parent,), daemon=True).start()
    sdk_worker_main.main(sys.argv)
    finish(0)


if __name__ == "__main__":
    main()
