"""Beam's job servers for Flink and Spark, with the engine in the same Java process.

Maven gets the classes. Java and Maven must be there; in CI a test fails without them, elsewhere it
is skipped.
"""

from __future__ import annotations

import contextlib
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import NamedTuple

import pytest

ROOT = pathlib.Path(__file__).parents[2]
_HERE = pathlib.Path(__file__).parent
_CACHE = ROOT / ".cache" / "engines"
_LIST = "org.apache.maven.plugins:maven-dependency-plugin:3.6.1:build-classpath"
# What Flink 1.19 and Spark 3.5 reach into, which Java 17 closes.
_OPEN = (
    *("java.lang", "java.lang.invoke", "java.lang.reflect", "java.io", "java.net", "java.nio"),
    *("java.util", "java.util.concurrent", "java.util.concurrent.atomic", "java.time"),
    *("sun.nio.ch", "sun.nio.cs", "sun.util.calendar", "sun.security.action"),
)
JAVA = ("java", "-Xmx1g", *(f"--add-opens=java.base/{name}=ALL-UNNAMED" for name in _OPEN))
# Everything on one address, and no more memory than needed.
FLINK_CONF = {
    "rest.bind-address": "127.0.0.1",
    "jobmanager.bind-host": "127.0.0.1",
    "taskmanager.bind-host": "127.0.0.1",
    "taskmanager.memory.network.min": "64mb",
}


class Engine(NamedTuple):
    """An engine: its name, the main class of its job server, and what that needs to start it."""

    name: str
    main: str
    arguments: tuple[str, ...]


FLINK = Engine(
    "flink", "org.apache.beam.runners.flink.FlinkJobServerDriver", ("--flink-master=[local]",)
)
SPARK = Engine(
    "spark", "org.apache.beam.runners.spark.SparkJobServerDriver", ("--spark-master-url=local[2]",)
)


class JobServer(NamedTuple):
    """A running job server: its process, its two ports on 127.0.0.1, and its log."""

    process: subprocess.Popen[bytes]
    job_port: int
    artifact_port: int
    log: pathlib.Path


def class_path(name: str) -> str:
    """The class path of an engine's job server. Maven gets what is not there yet."""
    missing = [program for program in ("java", "mvn") if shutil.which(program) is None]
    if missing:
        reason = f"needs {' and '.join(missing)}, such as default-jre-headless and maven of Debian"
        if os.environ.get("CI") == "true":
            pytest.fail(reason)
        pytest.skip(reason)
    pom, found = _HERE / f"{name}.xml", _CACHE / f"{name}.txt"
    if found.exists() and found.stat().st_mtime > pom.stat().st_mtime:
        listed = found.read_text()
        if all(os.path.exists(jar) for jar in listed.split(":")):
            return listed
    _CACHE.mkdir(parents=True, exist_ok=True)
    partial = _CACHE / f"{name}.{os.getpid()}"
    words = (f"-Dmdep.outputFile={partial}", "-Dmdep.includeScope=runtime")
    got = subprocess.run(
        ["mvn", "-B", "-q", "-f", str(pom), _LIST, *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=900,
    )
    assert got.returncode == 0, f"Maven can't get the classes for {name}: {got.stdout}"
    partial.replace(found)
    return found.read_text()


@contextlib.contextmanager
def job_server(
    engine: Engine, folder: pathlib.Path, conf: dict[str, str] | None = None, host: str = ""
) -> Iterator[JobServer]:
    """Run a job server.

    Args:
        engine: the engine that it embeds, or whose cluster its arguments name.
        folder: for its files.
        conf: settings of Flink besides FLINK_CONF.
        host: the address to listen on; 127.0.0.1 if "".
    """
    folder.mkdir(parents=True, exist_ok=True)
    log = folder / "job-server.log"
    arguments = [*engine.arguments, f"--artifacts-dir={folder / 'artifacts'}"]
    if engine.name == "flink":
        lines = [f"{key}: {value}\n" for key, value in {**FLINK_CONF, **(conf or {})}.items()]
        (folder / "flink-conf.yaml").write_text("".join(lines))
        arguments.append(f"--flink-conf-dir={folder}")
    ports = ("--job-port=0", "--artifact-port=0", "--expansion-port=-1")
    with log.open("wb") as output:
        process = subprocess.Popen(
            [
                *(*JAVA, "-cp", class_path(engine.name), engine.main),
                *(*ports, f"--job-host={host or '127.0.0.1'}", *arguments),
            ],
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    try:
        found = [_port(log, name) for name in ("JobService", "ArtifactStagingService")]
        yield JobServer(process, *found, log)
    finally:
        process.kill()
        process.wait()


def _port(log: pathlib.Path, service: str) -> int:
    for _ in range(600):
        started = re.search(rf"{service} started on \S+:(\d+)", log.read_text())
        if started:
            return int(started[1])
        time.sleep(0.1)
    raise AssertionError(f"the job server has not started: {log.read_text()}")


class WorkerPool(NamedTuple):
    """A process that starts workers on request, and its port on 127.0.0.1."""

    process: subprocess.Popen[str]
    port: int

    def kill_workers(self) -> None:
        """Kill its worker processes, of which there is at least one."""
        threads = pathlib.Path(f"/proc/{self.process.pid}/task").iterdir()
        workers = [
            int(each) for path in threads for each in (path / "children").read_text().split()
        ]
        assert workers
        for worker in workers:
            os.kill(worker, signal.SIGKILL)


@contextlib.contextmanager
def worker_pool(log: pathlib.Path) -> Iterator[WorkerPool]:
    """Run a worker pool on 127.0.0.1."""
    with log.open("wb") as errors:
        process = subprocess.Popen(
            [sys.executable, str(_HERE / "worker_pool.py"), "127.0.0.1", "0"],
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )
    try:
        assert process.stdout
        yield WorkerPool(process, int(process.stdout.readline()))
    finally:
        process.terminate()
        process.wait(30)
        process.stdout.close()
