"""What a fuzzing target is."""

import contextlib
import functools
import pathlib
import tempfile
from collections.abc import Callable
from typing import NamedTuple


class Target(NamedTuple):
    """A parser of ours, and the bytes that it is tried with.

    Attributes:
        name: as on the command line.
        check: reads the bytes; raises an error that a user is never to see, or AssertionError if
            what was read is wrong. Errors that the parser documents are no findings.
        seeds: real content, to be damaged.
        words: what means something in this format.
    """

    name: str
    check: Callable[[bytes], None]
    seeds: Callable[[], list[bytes]]
    words: tuple[bytes, ...] = ()


@functools.cache
def folder():
    """A folder for the files of this process; it goes when the process ends."""
    made = tempfile.TemporaryDirectory(prefix="fuzz-")
    return made, pathlib.Path(made.name).resolve()


@contextlib.contextmanager
def file_with(data, name):
    """The path of a file with this content."""
    path = folder()[1] / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    yield path
    path.unlink()


def content(write, name):
    """The bytes of a file that a function writes."""
    path = folder()[1] / "made" / name
    path.parent.mkdir(exist_ok=True)
    write(path)
    data = path.read_bytes()
    path.unlink()
    return data
