"""Job endpoints that don't answer are refused within seconds."""

import contextlib
import socket
import threading
from concurrent.futures import ThreadPoolExecutor

import grpc
import pytest

from encoder.errors import InputError
from pipeline.__main__ import main
from pipeline.launch.checks import check_command
from pipeline.launch.endpoint import check_endpoint

RUNNERS = ["PortableRunner", "FlinkRunner", "SparkRunner", "portable"]


@contextlib.contextmanager
def listening(answer=None):
    """A server that accepts connections, and sends one answer or none."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        opened = []

        def serve():
            with contextlib.suppress(OSError):
                while True:
                    opened.append(server.accept()[0])
                    if answer is not None:
                        opened[-1].sendall(answer)
                        opened[-1].close()

        threading.Thread(target=serve, daemon=True).start()
        yield f"127.0.0.1:{server.getsockname()[1]}"
        server.shutdown(socket.SHUT_RDWR)
        for each in opened:
            each.close()


def refusal(endpoint, **seconds):
    with pytest.raises(InputError) as refused:
        check_endpoint(endpoint, **seconds)
    return str(refused.value)


def test_a_grpc_server_is_accepted():
    server = grpc.server(ThreadPoolExecutor(1))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        check_endpoint(f"127.0.0.1:{port}")
        check_endpoint(f"localhost:{port}")
    finally:
        server.stop(None)


@pytest.mark.parametrize("runner", RUNNERS)
def test_nobody_is_there(runner):
    with pytest.raises(InputError, match="start the job service there") as refused:
        check_command([f"--runner={runner}", "--job_endpoint=localhost:1"])
    assert "Connection refused" in str(refused.value)


def test_a_server_that_says_nothing():
    with listening() as endpoint:
        assert "nothing came back within 0.3 seconds" in refusal(endpoint, seconds=0.3)


@pytest.mark.parametrize("answer", [b"HTTP/1.1 400 Bad Request\r\n\r\n", b"SSH-2.0-x\r\n", b""])
def test_another_kind_of_server(answer):
    with listening(answer) as endpoint:
        assert "is no gRPC service" in refusal(endpoint)


@pytest.mark.parametrize(
    "endpoint", ["8099", "localhost", "http://localhost:8099", "localhost:0", "localhost:99999"]
)
def test_what_is_no_address(endpoint):
    assert "expected HOST:PORT" in refusal(endpoint)


def test_a_host_that_is_not_known():
    assert "the host is not known" in refusal("no-such-host.invalid:8099")


def test_a_portable_runner_needs_an_endpoint():
    with pytest.raises(InputError, match="--runner=PortableRunner needs --job_endpoint"):
        check_command(["--runner=PortableRunner"])
    check_command(["--runner=FlinkRunner"])  # it starts a job service of its own
    check_command(["--runner=PortableRunner", "--job_endpoint=embed"])


def test_the_command_exits_with_2(images, small_bundle, tmp_path, capsys):
    paths = ["--input", images, "--encoder", small_bundle, "--output", tmp_path / "out"]
    words = [*map(str, paths), "--runner=PortableRunner", "--job_endpoint=127.0.0.1:1"]
    for command in ("run", "plan"):
        assert main([command, *words]) == 2
        assert capsys.readouterr().err.startswith("error: --job_endpoint '127.0.0.1:1'")
    assert not (tmp_path / "out").exists()
