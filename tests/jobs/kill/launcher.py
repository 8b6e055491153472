"""Runs ``python -m pipeline`` and disturbs it at a named point (see points.py).

    python tests/jobs/kill/launcher.py [--at POINT N ACTION]... [--room BYTES] [--calls FILE] \
        -- run ...

ACTION is "kill", or the path of a file to wait for. --room is the free space of the disk. --calls
is a file that grows by one byte for each image that the encoder has embedded.
"""

from __future__ import annotations

import argparse
import errno
import json
import os
import pathlib
import runpy
import signal
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

ROOT = pathlib.Path(__file__).parents[3]
sys.path.insert(0, str(ROOT))
AT = "KILL_AT"  # environment variable for worker processes; see site/sitecustomize.py


class Actions:
    """Carries out an action when a point is reached for the nth time in this process."""

    def __init__(self, wanted: list[list[str]]) -> None:
        self._wanted = {(point, int(nth)): action for point, nth, action in wanted}
        self._seen: Counter[str] = Counter()
        self._lock = threading.Lock()

    def reached(self, point: str, path: str) -> None:
        """See points.install."""
        with self._lock:
            self._seen[point] += 1
            action = self._wanted.get((point, self._seen[point]))
        if action == "kill":
            if point.endswith(":half"):
                os.truncate(path, os.path.getsize(path) // 2)
            os.kill(os.getpid(), signal.SIGKILL)
        elif action:
            pathlib.Path(f"{action}.reached").touch()
            while not os.path.exists(action):
                time.sleep(0.02)


def limit_room(room: int, patch: Callable[..., None] = setattr) -> None:
    """Allow only this number of further bytes in the output."""
    from encoder.storage import local as local_files

    create, left = local_files._create, [room]

    class Small:
        def __init__(self, file: Any) -> None:
            self._file = file

        def __enter__(self) -> Any:
            return self

        def __exit__(self, *_: object) -> None:
            self._file.close()

        def __getattr__(self, name: str) -> Any:
            return getattr(self._file, name)

        def write(self, data: bytes) -> None:
            self._file.write(data[: left[0]])
            left[0] -= len(data)
            if left[0] < 0:
                left[0] = 0
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    patch(local_files, "_create", lambda path: Small(create(path)))


def count_calls(path: str) -> None:
    """Record every image that the encoder has embedded."""
    from pipeline.embedding.handler import LoadedEncoder

    embed = LoadedEncoder.embed
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)

    def counted(self: LoadedEncoder, images: Any, *more: Any) -> Any:
        vectors = embed(self, images, *more)
        os.write(descriptor, b"\0" * len(images))
        return vectors

    LoadedEncoder.embed = counted


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--at", nargs=3, action="append", default=[])
    parser.add_argument("--in-workers", action="store_true")
    parser.add_argument("--room", type=int)
    parser.add_argument("--calls")
    options, rest = parser.parse_known_args()
    if options.in_workers:
        os.environ[AT] = json.dumps(options.at)
        os.environ["PYTHONPATH"] = str(pathlib.Path(__file__).with_name("site"))
    elif options.at:
        from tests.jobs.kill import points

        points.install(Actions(options.at).reached)
    if options.room is not None:
        limit_room(options.room)
    if options.calls:
        count_calls(options.calls)
    sys.argv = ["pipeline", *rest[rest.index("--") + 1 :]]
    runpy.run_module("pipeline", run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
