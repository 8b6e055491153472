"""Runs on the job servers of Flink and Spark, with workers in other processes."""

from __future__ import annotations

import pathlib
import subprocess
import sys
import time

import pytest

from tests.engines.job_servers import FLINK, ROOT, SPARK, Engine, JobServer, WorkerPool, job_server
from tests.engines.job_servers import worker_pool as running_pool
from tests.support.dataset import Dataset

PATIENCE = 300  # seconds, after which a run counts as hanging


@pytest.fixture(
    scope="session",
    params=[
        pytest.param(FLINK, id=FLINK.name),
        pytest.param(SPARK, id=SPARK.name, marks=pytest.mark.long),
    ],
)
def engine(request: pytest.FixtureRequest) -> Engine:
    return request.param


@pytest.fixture(scope="session")
def server(engine: Engine, tmp_path_factory: pytest.TempPathFactory):
    """A job server that the tests share which leave it alone."""
    with job_server(engine, tmp_path_factory.mktemp(engine.name)) as started:
        yield started


@pytest.fixture
def pool(tmp_path: pathlib.Path):
    with running_pool(tmp_path / "pool.log") as started:
        yield started


def on(server: JobServer, pool: WorkerPool, *more: str) -> list[str]:
    """Beam's options for a run on this job server, with workers of this pool."""
    return [
        "--runner=PortableRunner",
        f"--job_endpoint=127.0.0.1:{server.job_port}",
        f"--artifact_endpoint=127.0.0.1:{server.artifact_port}",
        "--environment_type=EXTERNAL",
        f"--environment_config=127.0.0.1:{pool.port}",
        "--parallelism=2",
        *more,
    ]


# One worker for all stages of a job, rather than a new one for each.
KEPT = "--environment_cache_millis=60000"


@pytest.fixture
def reference(tmp_path: pathlib.Path, small_bundle: pathlib.Path, capsys) -> Dataset:
    """A dataset of the same inputs, whose runs stay in this process."""
    return Dataset(tmp_path / "reference", small_bundle, tmp_path, capsys)


def vectors(dataset: Dataset) -> dict[str, tuple[object, ...]]:
    """What a reader finds, by uri: version, content, and the vector's bits."""
    return {
        uri: (row["version"], row["sha256"], row["width"], tuple(row["embedding"]))
        for uri, row in dataset.rows().items()
    }


class Run:
    """A run in a process of its own."""

    def __init__(self, dataset: Dataset, source: pathlib.Path, options: list[str]) -> None:
        words = ["--input", source, "--encoder", dataset.bundle, "--output", dataset.folder]
        self._folder = dataset.folder
        self.process = subprocess.Popen(
            [sys.executable, "-m", "pipeline", "run", *map(str, words), *options],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=ROOT,
        )

    def wait_for_parts(self, count: int) -> None:
        """Wait until the run has this many part files, which are not committed."""
        end = time.monotonic() + PATIENCE
        while len(list(self._folder.glob("staging/embeddings/**/*.parquet"))) < count:
            assert self.process.poll() is None, self.process.communicate()
            assert time.monotonic() < end, "no part file was written"
            time.sleep(0.05)
        assert not (self._folder / "manifest.json").exists()

    def finish(self) -> tuple[int, str, str]:
        """The exit code, stdout and stderr."""
        try:
            out, err = self.process.communicate(timeout=PATIENCE)
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise
        return self.process.returncode, out, err
