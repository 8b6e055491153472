"""Jobs over several hosts, whose links are cut in the middle: every host has its own network.

desk starts the job, jobs has the job service, workers has the worker processes, store the bucket.
"""

from __future__ import annotations

import contextlib
import json
import os
import pathlib
import subprocess
import sys
import time

import pytest

import encoder
from tests.conftest import small_network, write_image
from tests.engines.job_servers import FLINK, JAVA, class_path
from tests.engines.network import Network, network, what_is_missing
from tests.support.dataset import Dataset

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif("HOSTS" not in os.environ, reason="make test-hosts"),
    pytest.mark.skipif(bool(what_is_missing()), reason=what_is_missing() or "can be run"),
]
COUNT = 400  # images
PATIENCE = 400  # seconds, after which a run counts as hanging
STORE, POOL, JOBS, ARTIFACTS, FLINK_REST = 9000, 50000, 8099, 8098, 8081  # ports
PYTHON = sys.executable

ANSWERS = "import socket, sys; socket.create_connection((sys.argv[1], int(sys.argv[2])), 1)"
STATS = (
    f"import urllib.request as u; print(u.urlopen('http://store:{STORE}/_stats').read().decode())"
)
ROWS = """
import json
from pipeline.dataset.reader import open_dataset
rows = open_dataset("gs://bucket/dataset").to_table().to_pylist()
print(json.dumps([[r["uri"], r["sha256"], r["embedding"]] for r in rows]))
"""
# Of a cluster whose programs are started without Flink's shell scripts, which compute the sizes.
CLUSTER = f"""
jobmanager.rpc.address: jobs
jobmanager.bind-host: 0.0.0.0
rest.address: jobs
rest.bind-address: 0.0.0.0
rest.port: {FLINK_REST}
taskmanager.host: workers
taskmanager.bind-host: 0.0.0.0
taskmanager.numberOfTaskSlots: 2
taskmanager.cpu.cores: 2.0
taskmanager.memory.framework.heap.size: 128mb
taskmanager.memory.framework.off-heap.size: 128mb
taskmanager.memory.task.heap.size: 256mb
taskmanager.memory.task.off-heap.size: 0
taskmanager.memory.managed.size: 128mb
taskmanager.memory.network.min: 512mb
taskmanager.memory.network.max: 512mb
taskmanager.memory.jvm-metaspace.size: 256mb
taskmanager.memory.jvm-overhead.min: 192mb
taskmanager.memory.jvm-overhead.max: 192mb
classloader.resolve-order: parent-first
"""
ENTRY = "org.apache.flink.runtime"


@pytest.fixture(scope="module")
def files(tmp_path_factory) -> pathlib.Path:
    """What the bucket has: a bundle and images."""
    folder = tmp_path_factory.mktemp("files")
    small_network().save(folder / "small.keras")
    encoder.extract(folder / "small.keras", folder / "bundle", preprocess="unit")
    for n in range(COUNT):
        write_image(folder / "photos" / f"{n:04}.png", n, (32, 32))
    return folder


@pytest.fixture(scope="module")
def expected(files, tmp_path_factory) -> list[list[object]]:
    """The rows of a run in this process, in order."""
    dataset = Dataset(tmp_path_factory.mktemp("reference"), files / "bundle")
    dataset.run(files / "photos")
    rows = [[row["sha256"], row["embedding"]] for row in dataset.by_name().values()]
    return sorted(rows)


@pytest.fixture
def hosts(tmp_path, files):
    """The hosts, with the bucket on the store and a worker pool on workers."""
    (tmp_path / "credentials.json").write_text(
        '{"type": "authorized_user", "client_id": "x", "client_secret": "x", "refresh_token": "x"}'
    )
    with network(tmp_path, "desk", "jobs", "workers", "store") as made, started() as start:
        for host in made.hosts.values():
            host.environment = {
                "STORAGE_EMULATOR_HOST": f"http://store:{STORE}",
                "GOOGLE_CLOUD_PROJECT": "test",
                "GOOGLE_APPLICATION_CREDENTIALS": str(tmp_path / "credentials.json"),
                "DISABLE_GCS_PYTHON_CLIENT_OTEL_BUCKET_METADATA": "true",
            }
        server = ("--host=store", f"--port={STORE}", "--delay-ms=300", f"--folder={files}")
        start(made, "store", PYTHON, "-m", "tests.support.gcs.server", *server)
        module = "apache_beam.runners.worker.worker_pool_main"
        start(made, "workers", PYTHON, "-m", module, f"--service_port={POOL}")
        for name, port in (("store", STORE), ("workers", POOL)):
            wait_for(made, name, port)
        yield made, start


@contextlib.contextmanager
def started():
    """A function that starts a program on a host; programs end with the block."""
    running = []

    def start(made: Network, name: str, *words: str) -> None:
        running.append(made.hosts[name].start(*words))

    try:
        yield start
    finally:
        for process in reversed(running):
            process.terminate()
        for process in running:
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def wait_for(made: Network, name: str, port: int, asking: str = "desk") -> None:
    """Wait until a host answers at a port."""
    address = "localhost" if asking == name else name
    for _ in range(120):
        if made.hosts[asking].start(PYTHON, "-S", "-c", ANSWERS, address, str(port)).wait() == 0:
            return
        time.sleep(0.5)
    raise AssertionError(f"{name} does not answer: {made.hosts[name].log()}")


def ask(made: Network, program: str) -> str:
    """What a Python program prints on desk."""
    process = made.hosts["desk"].start(PYTHON, "-c", program, output=subprocess.PIPE)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    return out


class Job:
    """A run over several hosts."""

    def __init__(self, made: Network, launcher: str, *options: str) -> None:
        self._made = made
        self._process = made.hosts[launcher].start(
            *(PYTHON, "-m", "pipeline", "run", "--input", "gs://bucket/photos"),
            *("--encoder", "gs://bucket/bundle", "--output", "gs://bucket/dataset"),
            "--runner=PortableRunner",
            # Beam's own job service listens only on its host's localhost.
            f"--job_endpoint={'localhost' if launcher == 'jobs' else 'jobs'}:{JOBS}",
            *("--environment_type=EXTERNAL", f"--environment_config=workers:{POOL}"),
            *("--parallelism=2", *options),
            output=subprocess.PIPE,
        )
        self._before = self._reads()

    def _reads(self) -> int:
        return json.loads(ask(self._made, STATS)).get("read", 0)

    def wait_until_embedding(self) -> None:
        """Wait until a quarter of the images has been read."""
        end = time.monotonic() + PATIENCE
        while self._reads() - self._before < COUNT // 4:
            assert self._process.poll() is None, self._process.communicate()
            assert time.monotonic() < end
            time.sleep(0.1)

    def finish(self) -> tuple[int, str, str]:
        """The exit code, stdout and stderr."""
        try:
            out, err = self._process.communicate(timeout=PATIENCE)
        except subprocess.TimeoutExpired:
            self._process.kill()
            raise
        return self._process.returncode, out, err


def run_while_cut_off(made: Network, name: str, seconds: float, launcher: str, *options: str):
    """A run during which a host is cut off for a while, and the run that follows if it failed."""
    job = Job(made, launcher, *options)
    job.wait_until_embedding()
    with made.cut(name):
        time.sleep(seconds)
    code, out, err = job.finish()
    print(name, seconds, code, out, err)
    if code:
        assert (code, err.count("\n")) == (1, 1), err
        assert err.startswith("error: ")
        code, out, err = Job(made, launcher, *options).finish()
        assert code == 0, err
    assert f"{COUNT} images listed" in out


def rows(made: Network) -> list[list[object]]:
    """The rows of the dataset in order; each image has one."""
    found = json.loads(ask(made, ROWS))
    assert len({uri for uri, *_ in found}) == len(found) == COUNT
    return sorted([sha256, vector] for _, sha256, vector in found)


@pytest.mark.parametrize("name", ["store", "workers"])
def test_the_job_service_of_beam(hosts, expected, name):
    made, start = hosts
    module = "apache_beam.runners.portability.local_job_service_main"
    start(made, "jobs", PYTHON, "-m", module, "-p", str(JOBS))
    wait_for(made, "jobs", JOBS, asking="jobs")
    run_while_cut_off(made, name, 8, "jobs")
    assert rows(made) == expected


@pytest.mark.parametrize("name", ["store", "workers", "jobs"])
def test_a_flink_cluster(hosts, tmp_path, expected, name):
    made, start = hosts
    (tmp_path / "flink-conf.yaml").write_text(CLUSTER)
    classes = class_path(FLINK.name)
    java = (*JAVA, "-cp", classes)
    conf = ("--configDir", str(tmp_path))
    start(made, "jobs", *java, f"{ENTRY}.entrypoint.StandaloneSessionClusterEntrypoint", *conf)
    wait_for(made, "jobs", FLINK_REST)
    start(made, "workers", *java, f"{ENTRY}.taskexecutor.TaskManagerRunner", *conf)
    ports = (f"--job-port={JOBS}", f"--artifact-port={ARTIFACTS}", "--expansion-port=-1")
    server = (f"--flink-master=jobs:{FLINK_REST}", f"--artifacts-dir={tmp_path / 'artifacts'}")
    start(made, "jobs", *java, FLINK.main, "--job-host=jobs", *ports, *server)
    wait_for(made, "jobs", JOBS)
    run_while_cut_off(made, name, 8, "desk", f"--artifact_endpoint=jobs:{ARTIFACTS}")
    assert rows(made) == expected
