"""The program of a process that decodes images; pipeline.embedding.decoders starts it.

A decoder written in C can't be stopped in a thread, and a fault in it ends its process. Here it
ends this process only. The process reads images from a socket and sends pixels back. Where the
system can, it has no network, writes no file and starts no program: see encoder.isolation.
"""

from __future__ import annotations

import contextlib
import os
import resource
import signal
import socket
import struct
import sys
from collections.abc import Iterator

import msgspec

from encoder.compute.machine import usable_memory
from encoder.images.decode import decode_image
from encoder.images.limits import Limits
from encoder.isolation import restrict
from encoder.spec import EncoderSpec
from pipeline.records import describe_error

_LENGTH = struct.Struct(">Q")  # of a message, in front of it
# Memory that decoding may take, besides what it takes for each byte of the file and each pixel. The
# most that was measured is 28 bytes a pixel, for lossless WebP with transparency.
_BYTES, _BYTES_PER_BYTE, _BYTES_PER_PIXEL = 1 << 30, 4, 64
_IDLE_SECONDS = 60.0  # then the process ends; starting another one takes half a second
_STATUS = "/proc/self/status"


class Settings(msgspec.Struct, frozen=True):
    """How images are decoded; the first message to the process.

    Attributes:
        spec: the encoder's spec, as encoder.json has it.
        max_pixels: width times height of one image.
        allow_truncated: decode truncated images as far as possible.
        seconds: of processor time that one image may take.
    """

    spec: str
    max_pixels: int
    allow_truncated: bool
    seconds: float


class Header(msgspec.Struct, tag="header"):
    """An image's header is read; the process waits until so many pixels may be decoded."""

    pixels: int


class Pixels(msgspec.Struct, tag="pixels"):
    """A decoded image; see encoder.images.decode.DecodedImage.

    Attributes:
        pixels: the bytes of (height, width, channels) uint8.
    """

    stored_width: int
    stored_height: int
    truncated: bool
    pixels: bytes


class Refusal(msgspec.Struct, tag="refusal"):
    """An image that can't be decoded, with the type and the message of the error."""

    error: str
    message: str


Reply = Header | Pixels | Refusal


def send(peer: socket.socket, message: bytes | memoryview) -> None:
    """Send one message of at most 2^64 bytes.

    Raises:
        OSError: the other process has ended, or does not read.
    """
    peer.sendall(_LENGTH.pack(len(message)))
    peer.sendall(message)


def receive(peer: socket.socket, most: int | None = None) -> bytearray:
    """Wait for one message.

    Args:
        peer: the socket.
        most: the largest size to accept, in bytes; None for any.

    Raises:
        ValueError: the message is larger.
        EOFError: the other process has ended.
        OSError: likewise, or it has sent nothing within the socket's time.
    """
    (length,) = _LENGTH.unpack(_exactly(peer, _LENGTH.size))
    if most is not None and length > most:
        raise ValueError(f"a message of {length:,} bytes; expected at most {most:,}")
    return _exactly(peer, length)


def _exactly(peer: socket.socket, length: int) -> bytearray:
    data = bytearray(length)
    rest = memoryview(data)
    while rest:
        count = peer.recv_into(rest)
        if not count:
            raise EOFError
        rest = rest[count:]
    return data


def main() -> None:
    """Decode images until the other end of the socket, whose number is the argument, is closed.

    Without work, the process ends after a while, too.
    """
    _leave_signals_to_the_worker()
    _end_first()
    nowhere = os.open(os.devnull, os.O_RDWR)
    restrict()
    before, most = _memory_in_use(), usable_memory()
    with contextlib.suppress(EOFError, OSError), socket.socket(fileno=int(sys.argv[1])) as peer:
        settings = msgspec.msgpack.decode(receive(peer), type=Settings)
        spec = EncoderSpec.from_json(settings.spec)
        send(peer, b"")  # ready
        for stream in (0, 1, 2):  # what C libraries write about damaged images
            os.dup2(nowhere, stream)
        while True:
            peer.settimeout(_IDLE_SECONDS)
            data = bytes(receive(peer))
            peer.settimeout(None)
            with _limited(settings.seconds):
                reply = _decoded(peer, data, spec, settings, (before, most))
            send(peer, msgspec.msgpack.encode(reply))
    os._exit(0)


def _decoded(
    peer: socket.socket, data: bytes, spec: EncoderSpec, settings: Settings, memory: tuple[int, int]
) -> Pixels | Refusal:
    before, most = memory  # in use without an image, and what the machine has
    least = before + _BYTES + _BYTES_PER_BYTE * len(data)

    @contextlib.contextmanager
    def admit(pixels: int) -> Iterator[None]:
        send(peer, msgspec.msgpack.encode(Header(pixels)))
        receive(peer)
        _bound_memory(min(most, least + _BYTES_PER_PIXEL * pixels))
        yield

    _bound_memory(min(most, least))
    try:
        image = decode_image(
            data, spec, Limits(settings.max_pixels, settings.allow_truncated), admit
        )
    except Exception as error:  # a decoder may raise anything
        return Refusal(*describe_error(error))
    return Pixels(image.stored_width, image.stored_height, image.truncated, image.pixels.tobytes())


@contextlib.contextmanager
def _limited(seconds: float) -> Iterator[None]:
    """End the process by SIGPROF if the block takes so many seconds of processor time.

    Processor time: an image is not refused because the machine has other work.
    """
    signal.setitimer(signal.ITIMER_PROF, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)


def _leave_signals_to_the_worker() -> None:
    """If the whole job is stopped, this process ends after the worker, whose socket it reads."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    signal.signal(signal.SIGPROF, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGPROF])


def _end_first() -> None:
    """Let Linux end this process, and not the worker, if memory runs out; write no core dumps."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    with contextlib.suppress(OSError), open("/proc/self/oom_score_adj", "w") as file:
        file.write("1000")


def _memory_in_use() -> int:
    """The bytes that RLIMIT_DATA counts; 0 where the system does not say."""
    try:
        with open(_STATUS) as file:
            lines = dict(line.split(":", 1) for line in file)
    except OSError:
        return 0
    return int(lines["VmData"].split()[0]) << 10


def _bound_memory(most: int) -> None:
    """Let a decoder that takes more bytes fail with a MemoryError."""
    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    if hard == resource.RLIM_INFINITY or most < hard:
        resource.setrlimit(resource.RLIMIT_DATA, (most, hard))


if __name__ == "__main__":
    main()
