"""Processes that decode images: a slow image is given up, and a crash concerns only its image."""

from __future__ import annotations

import atexit
import functools
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager

import msgspec

from encoder.isolation import restricted_environment
from encoder.spec import EncoderSpec
from pipeline.embedding import decoder_process
from pipeline.embedding.decoder_process import Header, Pixels, Refusal, Reply, Settings
from pipeline.errors import JobError

# A process that takes so many times the seconds by the clock hangs, although it does not compute.
_CLOCK = 20
_START_SECONDS = 120.0
_REPLY_BYTES = 1 << 20  # of a reply besides pixels, at most

Admit = Callable[[int], AbstractContextManager[None]]


class DecodeTimeoutError(Exception):
    """Decoding an image took more processor time than is allowed."""


class DecoderCrashError(Exception):
    """The process that decoded an image ended, twice."""


class Decoders:
    """Processes of one machine that decode images.

    They start when they are needed, and end when they had nothing to do for a while, or when this
    process ends.

    Args:
        settings: how images are decoded.
        most: processes at the same time.
    """

    def __init__(self, settings: Settings, most: int) -> None:
        self._settings = settings
        self._most = most
        self._started = 0
        self._idle: list[_Process] = []
        self._changed = threading.Condition()

    def decode(self, data: bytes, admit: Admit) -> Pixels | Refusal:
        """Decode an image file.

        Args:
            data: the file.
            admit: a context manager; it is entered with the number of pixels before they are
                decoded.

        Returns:
            The pixels, or why there are none.

        Raises:
            DecodeTimeoutError: the image takes too long.
            DecoderCrashError: the decoder crashed, twice.
            JobError: no process can be started.
        """
        try:
            return self._decode_once(data, admit)
        except DecoderCrashError:
            # It may have been ended from outside, for memory that another process took.
            return self._decode_once(data, admit)

    def end_idle(self) -> None:
        """End the processes that have nothing to do."""
        with self._changed:
            idle, self._idle = self._idle, []
            self._started -= len(idle)
        for process in idle:
            process.end()

    def _decode_once(self, data: bytes, admit: Admit) -> Pixels | Refusal:
        process = self._take()
        try:
            reply = process.decode(data, admit)
        except BaseException:
            process.end()
            self._give_back(None)
            raise
        self._give_back(process)
        return reply

    def _take(self) -> _Process:
        with self._changed:
            self._changed.wait_for(lambda: self._idle or self._started < self._most)
            while self._idle:
                process = self._idle.pop()
                if process.is_alive():
                    return process
                process.end()
                self._started -= 1
            self._started += 1
        try:
            return _Process(self._settings)
        except BaseException:
            self._give_back(None)
            raise

    def _give_back(self, process: _Process | None) -> None:
        with self._changed:
            if process is None:
                self._started -= 1
            else:
                self._idle.append(process)
            self._changed.notify()


@functools.cache
def shared_decoders(settings: Settings, most: int) -> Decoders:
    """The decoders of this process with these settings, which all its threads share."""
    decoders = Decoders(settings, most)
    atexit.register(decoders.end_idle)
    return decoders


class _Process:
    """One process, and the socket to it."""

    def __init__(self, settings: Settings) -> None:
        self._seconds = settings.seconds
        spec = EncoderSpec.from_json(settings.spec)
        self._largest_reply = spec.height * spec.width * spec.channels + _REPLY_BYTES
        self._peer, other = socket.socketpair()
        # One thread each: the cores are shared by processes.
        environment = {
            **restricted_environment(),
            "OMP_NUM_THREADS": "1",
            "OPENBLAS_NUM_THREADS": "1",
        }
        with other:
            self._child = subprocess.Popen(
                [sys.executable, "-m", decoder_process.__name__, str(other.fileno())],
                pass_fds=[other.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                env=environment,
            )
        try:
            self._peer.settimeout(_START_SECONDS)
            decoder_process.send(self._peer, msgspec.msgpack.encode(settings))
            decoder_process.receive(self._peer)
        except (EOFError, OSError) as error:
            code = self.end()
            raise JobError(
                f"a process that decodes images can't be started ({_ending(code)}); "
                f"{sys.executable} -m {decoder_process.__name__} has to run on every worker"
            ) from error
        self._peer.settimeout(_CLOCK * self._seconds)

    def decode(self, data: bytes, admit: Admit) -> Pixels | Refusal:
        try:
            decoder_process.send(self._peer, data)
            reply = self._reply()
            if not isinstance(reply, Header):
                return reply
            with admit(reply.pixels):
                decoder_process.send(self._peer, b"")
                reply = self._reply()
        except TimeoutError as error:
            raise DecodeTimeoutError(
                f"decoding did not end within {_CLOCK} times the --decode-timeout of "
                f"{self._seconds:g} s"
            ) from error
        except (EOFError, OSError, ValueError) as error:
            code = self.end()
            if code == -signal.SIGPROF:
                raise DecodeTimeoutError(
                    f"decoding takes more than the {self._seconds:g} s of processor time that "
                    "--decode-timeout allows; raise it and add --retry-failures, or leave the "
                    "image out"
                ) from error
            raise DecoderCrashError(
                f"the decoder crashed, twice ({_ending(code)}); the file is damaged in a way that "
                "the image library does not survive, or takes more memory than there is"
            ) from error
        assert not isinstance(reply, Header)
        return reply

    def _reply(self) -> Reply:
        message = decoder_process.receive(self._peer, self._largest_reply)
        reply: Reply = msgspec.msgpack.decode(message, type=Reply)
        return reply

    def is_alive(self) -> bool:
        """Whether the process has not ended by itself, for lack of work."""
        return self._child.poll() is None

    def end(self) -> int:
        """End the process now. Returns its exit code, or the signal that ended it, negative."""
        self._peer.close()
        try:
            code = self._child.wait(0.5)  # one that crashed is about to end
        except subprocess.TimeoutExpired:
            self._child.kill()
            code = self._child.wait()
        return code


def _ending(code: int) -> str:
    if code >= 0:
        return f"exit code {code}"
    try:
        return signal.Signals(-code).name
    except ValueError:
        return f"signal {-code}"
