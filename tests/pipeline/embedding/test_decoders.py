"""Images that take for ever, or crash their decoder; made as public reports describe them."""

import contextlib
import io
import os
import signal
import socket
import struct
import subprocess
import sys
import threading

import numpy as np
import pytest
from PIL import Image

from encoder.images.decode import decode_image
from encoder.spec import read_spec
from pipeline.embedding.decode import Reading
from pipeline.embedding.decoder_process import Pixels, Refusal
from pipeline.embedding.decoders import DecoderCrashError, DecodeTimeoutError, shared_decoders
from pipeline.errors import JobError
from tests.support.image_files import endless_gif, endless_jpeg, every_kind


@pytest.fixture
def spec(small_bundle):
    return read_spec(small_bundle)


@pytest.fixture
def started(monkeypatch):
    """The ids of all processes that decode, as they start."""
    ids = []
    popen = subprocess.Popen

    def noting(*arguments, **options):
        child = popen(*arguments, **options)
        ids.append(child.pid)
        return child

    monkeypatch.setattr(subprocess, "Popen", noting)
    return ids


@contextlib.contextmanager
def decoders(spec, processes=1, **settings):
    """Decoders of their own; all their processes have ended afterwards."""
    shared_decoders.cache_clear()
    opened = Reading(spec, **settings).decoders(processes)
    try:
        yield opened
    finally:
        shared_decoders.cache_clear()
        opened.end_idle()


def freely(pixels):
    return contextlib.nullcontext()


def png(size=(40, 30)):
    data = io.BytesIO()
    Image.effect_noise(size, 50).convert("RGB").save(data, "PNG")
    return data.getvalue()


def rgba():
    data = io.BytesIO()
    Image.new("RGBA", (40, 30), (10, 20, 30, 40)).save(data, "PNG")
    return data.getvalue()


def endless_pnm():
    """A comment of megabytes in a header that is read byte by byte."""
    return b"P6\n#" + b"c" * 10_000_000 + b"\n1 1\n255\nabc"


@pytest.mark.parametrize("kind", ["jpeg", "png", "gif", "heic", "webp", "bmp"])
def test_pixels_are_those_of_decoding_in_this_process(spec, kind):
    data = every_kind()[kind]
    expected = decode_image(data, spec)
    with decoders(spec) as opened:
        found = opened.decode(data, freely)
    assert isinstance(found, Pixels)
    assert (found.stored_width, found.stored_height) == expected[1:3]
    np.testing.assert_array_equal(
        np.frombuffer(found.pixels, np.uint8), expected.pixels.reshape(-1)
    )


def test_four_channels(spec):
    with decoders(spec.replace(channels=4)) as opened:
        found = opened.decode(rgba(), freely)
    assert isinstance(found, Pixels)
    pixels = np.frombuffer(found.pixels, np.uint8).reshape(spec.height, spec.width, 4)
    assert (pixels == (10, 20, 30, 40)).all()


def test_errors_are_those_of_decoding_in_this_process(spec):
    with decoders(spec) as opened:
        found = opened.decode(b"text", freely)
    assert isinstance(found, Refusal)
    assert found.error == "UnidentifiedImageError"


@pytest.mark.parametrize("make", [endless_gif, endless_jpeg, endless_pnm])
def test_an_image_that_takes_too_long_is_given_up(spec, started, make):
    with decoders(spec, decode_timeout=0.5) as opened:
        assert isinstance(opened.decode(png(), freely), Pixels)
        with pytest.raises(DecodeTimeoutError, match=r"0\.5 s .*--decode-timeout.*--retry-fail"):
            opened.decode(make(), freely)
        assert isinstance(opened.decode(png(), freely), Pixels)
    assert len(started) == 2


def test_time_spent_waiting_for_admission_does_not_count(spec):
    def slowly(pixels):
        threading.Event().wait(0.4)
        return contextlib.nullcontext()

    with decoders(spec, decode_timeout=0.2) as opened:
        assert isinstance(opened.decode(png(), slowly), Pixels)


@pytest.mark.parametrize("ending", [signal.SIGSEGV, signal.SIGKILL, signal.SIGABRT])
def test_a_decoder_that_crashes_fails_its_image_only(spec, started, ending):
    def crash(pixels):
        os.kill(started[-1], ending)
        return contextlib.nullcontext()

    with decoders(spec) as opened:
        with pytest.raises(DecoderCrashError, match=f"crashed, twice.*{ending.name}"):
            opened.decode(png(), crash)
        assert isinstance(opened.decode(png(), freely), Pixels)
    assert len(started) == 3


def test_a_decoder_that_is_ended_from_outside_is_replaced(spec, started):
    def crash_once(pixels):
        if len(started) == 1:
            os.kill(started[0], signal.SIGKILL)
        return contextlib.nullcontext()

    with decoders(spec) as opened:
        assert isinstance(opened.decode(png(), crash_once), Pixels)
    assert len(started) == 2


def test_stopping_the_job_does_not_make_failures(spec, started):
    """A scheduler sends its signal to all processes of a job; the worker must end first."""

    def stop(pixels):
        for each in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            os.kill(started[0], each)
        return contextlib.nullcontext()

    with decoders(spec) as opened:
        assert isinstance(opened.decode(png(), stop), Pixels)
    assert len(started) == 1


def test_processes_start_when_they_are_needed_and_are_shared(spec, started):
    with decoders(spec, 4) as one:
        assert Reading(spec).decoders(4) is one
        for _ in range(5):
            one.decode(png(), freely)
        assert len(started) == 1


def test_a_process_that_has_ended_for_lack_of_work_is_replaced(spec, started):
    with decoders(spec, 1) as opened:
        for count in (1, 2, 3):
            assert isinstance(opened.decode(png(), freely), Pixels)
            assert len(started) == count
            opened._idle[0]._peer.shutdown(socket.SHUT_WR)  # as seen from the process, no more
            opened._idle[0]._child.wait(10)


def test_the_processes_end_with_the_worker(spec, tmp_path):
    """However the worker ends: the other end of the socket is closed."""
    code = (
        "import contextlib, os, signal, sys\n"
        "from encoder.spec import read_spec\n"
        "from pipeline.embedding.decode import Reading\n"
        "opened = Reading(read_spec(sys.argv[1])).decoders(1)\n"
        "opened.decode(b'', lambda pixels: contextlib.nullcontext())\n"
        "print(opened._idle[0]._child.pid, flush=True)\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    folder = tmp_path / "bundle"
    folder.mkdir()
    (folder / "encoder.json").write_text(spec.to_json())
    worker = subprocess.run([sys.executable, "-c", code, folder], capture_output=True, text=True)
    pid = int(worker.stdout)
    for _ in range(200):
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return
        with open(f"/proc/{pid}/stat") as file:
            if file.read().rpartition(")")[2].split()[0] == "Z":  # nobody waits for it here
                return
        threading.Event().wait(0.05)
    raise AssertionError("the process goes on")


def test_a_process_that_can_not_start_fails_the_job(spec, monkeypatch):
    monkeypatch.setattr("sys.executable", "/bin/false")
    with decoders(spec) as opened, pytest.raises(JobError, match=r"can't be started \(exit code 1"):
        opened.decode(png(), freely)


def exif_bomb(tags=2000, length=1 << 20):
    """A megabyte of EXIF whose tags all have the same megabyte as their value: 2 GB when read."""
    entries = b"".join(
        struct.pack(">HHII", 0x9000 + n, 7, length, 8 + 2 + 12 * tags + 4) for n in range(tags)
    )
    exif = b"MM\0*\0\0\0\x08" + struct.pack(">H", tags) + entries + bytes(4) + bytes(length)
    data = io.BytesIO()
    Image.new("L", (8, 8)).save(data, "WEBP", exif=exif)
    return data.getvalue()


def test_memory_is_bounded(spec, started):
    """A bomb is refused, or what bursts is left out; it does not take the machine's memory."""
    with decoders(spec) as opened:
        opened.decode(png(), freely)
        assert isinstance(opened.decode(exif_bomb(), freely), Pixels)  # shown as stored
        with open(f"/proc/{started[0]}/status") as file:
            (peak,) = [int(line.split()[1]) >> 10 for line in file if line.startswith("VmHWM")]
        with open(f"/proc/{started[0]}/oom_score_adj") as file:
            assert int(file.read()) == 1000
    assert peak < 1400  # MiB
    assert len(started) == 1


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="of Linux")
def test_the_process_has_no_network_and_writes_nothing(spec, started):
    """See tests/encoder/test_isolation.py for what that means."""
    with decoders(spec) as opened:
        opened.decode(png(), freely)
        with open(f"/proc/{started[0]}/status") as file:
            rights = dict(line.split(":\t", 1) for line in file if ":\t" in line)
        places = [os.readlink(f"/proc/{each}/ns/net") for each in (started[0], os.getpid())]
    if places[0] == places[1]:
        pytest.skip("this system does not allow namespaces")
    assert rights["NoNewPrivs"].strip() == "1"


def test_a_reply_of_an_impossible_size_is_not_read(spec):
    """A decoder that an image has taken over must not harm the worker."""
    with decoders(spec) as opened:
        opened.decode(png(), freely)
        peer = opened._idle[0]._peer

        class Lying:
            def __getattr__(self, name):
                return getattr(peer, name)

            def recv_into(self, view):
                count = peer.recv_into(view)
                if len(view) == 8:
                    view[:] = struct.pack(">Q", 1 << 60)
                return count

        opened._idle[0]._peer = Lying()
        assert isinstance(opened.decode(png(), freely), Pixels)  # by another process
