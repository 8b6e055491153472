"""The markers of a JPEG stream: where its image ends and what its scans deliver, undecoded."""

from __future__ import annotations

import itertools
import re
from collections.abc import Collection, Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

SOI, EOI, SOS = 0xD8, 0xD9, 0xDA
FRAMES = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}  # SOF0 to SOF15
ALONE = {0x01, *range(0xD0, 0xDA)}  # markers without a segment: TEM, RST0 to RST7, SOI, EOI
RESTARTS = range(0xD0, 0xD8)
SCAN, END_MARKER = b"\xff\xda", b"\xff\xd9"

_DRI = 0xDD  # defines the restart interval
_PROGRESSIVE = {0xC2, 0xC6, 0xCA, 0xCE}
_ARITHMETIC = {*range(0xC9, 0xD0)} - {0xCC}
_MARKER = re.compile(rb"\xff[\x01-\xfe]")
_MOST_SCANS = 500  # libjpeg-turbo's own advice against files that take hours


def _filler(number: int) -> bytes:
    """Bytes without a marker. The first four bits are those of the number."""
    rest = ((number * 29 + place * (2 * number + 37)) % 255 for place in range(1, 256))
    return bytes([number << 4 | 5, *rest])


# Bytes that don't decode to zeros, which is what libjpeg puts in for missing data; also with all
# restart markers, so that a decoder which waits for its next one finds it.
_FILLERS = [
    (filler, filler + b"".join(bytes([0xFF, code]) + filler for code in RESTARTS))
    for filler in map(_filler, (3, *range(3), *range(4, 16)))
]


class Ending(NamedTuple):
    """How the image of a JPEG stream ends.

    Attributes:
        stream: up to the end of the image if it has no end marker, else everything.
        marked: whether the end marker is there.
        missing: what the scans leave undefined; "" for nothing.
    """

    stream: bytes
    marked: bool
    missing: str


class _Delivered:
    """Which bits of which coefficients the scans so far have delivered."""

    def __init__(self) -> None:
        self._progressive = False
        self._wanted: dict[int, NDArray[np.int64]] = {}

    def begin(self, code: int, segment: bytes) -> None:
        """Read a frame header."""
        self._progressive = code in _PROGRESSIVE
        components = segment[10 : 10 + 3 * segment[9] : 3] if len(segment) > 9 else b""
        self._wanted = {component: np.full(64, 99) for component in components}

    def add(self, segment: bytes) -> None:
        """Read a scan header."""
        count = segment[4] if len(segment) > 4 else 0
        ids, spectrum = segment[5 : 5 + 2 * count : 2], segment[5 + 2 * count :]
        if len(spectrum) < 3 or not set(ids) <= set(self._wanted):
            raise ValueError("the JPEG file has a damaged scan header")
        first, last, low = (*spectrum[:2], spectrum[2] & 15) if self._progressive else (0, 63, 0)
        for component in ids:
            self._wanted[component][first : last + 1] = low

    def missing(self) -> str:
        """What is left undefined; "" for nothing. libjpeg accepts files that lack whole scans."""
        unfinished = any(left.any() for left in self._wanted.values())
        return "some of its scans aren't there" if unfinished else ""


def markers(data: bytes, position: int = 2) -> Iterator[tuple[int, int, int]]:
    """(code, start, end) of the segments up to the end of the image, or of the data.

    A segment that goes beyond the data has the end -1, and is the last one.
    """
    while match := _MARKER.search(data, position):
        code, start = data[match.end() - 1], match.start()
        position = start + 2
        if code not in ALONE:
            length = int.from_bytes(data[position : position + 2], "big")
            position += max(length, 2)
        if position > len(data):
            yield code, start, -1
            return
        yield code, start, position
        if code == EOI:
            return


def ending_of(stream: bytes, look_on: bool = True) -> Ending:
    """Find where the image ends, and whether its scans deliver all of it.

    Without an end marker, the image ends at the first marker after the scan that completes it, or
    with the data: a segment that is cut does not belong to it.

    Args:
        stream: the file.
        look_on: whether to look for an end marker behind the scans.

    Raises:
        ValueError: a scan header is damaged, or there are too many scans.
    """
    delivered, scans, end, complete = _Delivered(), 0, -1, False
    restarts: Collection[int] = ()
    for code, start, stop in markers(stream):
        if code == EOI and look_on:
            return Ending(stream, True, delivered.missing())
        if stop < 0 or code == EOI or (complete and code not in restarts):
            end = start if end < 0 else end
        if stop < 0 or (code == SOI and scans) or (end >= 0 and not look_on):
            break
        if code in FRAMES and not complete:
            delivered.begin(code, stream[start:stop])
        elif code == _DRI:
            restarts = RESTARTS
        elif code == SOS:
            scans += 1
            if scans > _MOST_SCANS:
                raise ValueError(f"the JPEG file has over {_MOST_SCANS} scans; no camera writes it")
            if not complete:
                delivered.add(stream[start:stop])
                complete = not delivered.missing()
            if look_on and scans == 1 and complete and _has_end(stream, stop):
                return Ending(stream, True, "")  # all in one scan, as most files have it
    body = stream[: end if end >= 0 else len(stream)]
    return Ending(body.rstrip(b"\xff"), False, delivered.missing())


def without_fill(body: bytes) -> bytes:
    """A stream without the equal bytes at its end, which may have been added after it was cut.

    Two zeros, or three other equal bytes, count: pixels rarely end so.
    """
    rest = body.rstrip(body[-1:])
    zeros = body.endswith(b"\0")
    if zeros and rest.endswith(b"\xff"):  # that zero belongs to the 0xFF
        rest += b"\0"
    return rest if len(body) - len(rest) >= (2 if zeros else 3) else body


def with_fillers(stream: bytes, count: int) -> Iterator[bytes]:
    """The stream with additional bytes wherever scans end, others each time."""
    for filler, restarted in itertools.islice(_FILLERS, count):
        pieces, done, coded = [], 0, False
        for code, start, _ in markers(stream):
            if coded:
                pieces += [stream[done:start], filler if code in RESTARTS else restarted]
                done = start
            coded = code == SOS or code in RESTARTS
        yield b"".join([*pieces, stream[done:], restarted if coded else b""])


def is_arithmetic(stream: bytes) -> bool:
    """Whether the image is arithmetic coded, not Huffman coded."""
    frame = next((code for code, _, _ in markers(stream) if code in FRAMES), 0)
    return frame in _ARITHMETIC


def _has_end(stream: bytes, start: int) -> bool:
    """Whether an end marker comes before another image begins."""
    if stream.endswith(END_MARKER):  # as most files do, which saves a search of all bytes
        return True
    end = stream.find(END_MARKER, start)
    return end >= 0 and stream.find(b"\xff\xd8", start, end) < 0
