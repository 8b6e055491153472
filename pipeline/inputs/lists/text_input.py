"""Open a list as text: decompress it, recognise its encoding, and read it line by line."""

from __future__ import annotations

import bz2
import codecs
import contextlib
import gzip
import io
import lzma
import re
from collections.abc import Iterator
from typing import BinaryIO, NamedTuple, cast

from encoder.images.kinds import content_of
from pipeline.inputs.lists.base import LONGEST, ListError
from pipeline.records import Note

UTF8 = "utf-8"
_HEAD_BYTES = 16
_HALF = re.compile("[\ud800-\udfff]")
_PACKED = {".gz": b"\x1f\x8b", ".bz2": b"BZh", ".xz": b"\xfd7zXZ\x00"}
# The marks of UTF-32 begin with those of UTF-16.
_MARKS = (
    (codecs.BOM_UTF8, UTF8),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
# How the first characters look without a mark if they are ASCII: which of four bytes are null.
_NULLS: dict[tuple[bool, ...], str] = {
    (False, True, True, True): "utf-32-le",
    (True, True, True, False): "utf-32-be",
    (False, True, False, True): "utf-16-le",
    (True, False, True, False): "utf-16-be",
}


class Text(NamedTuple):
    """A list as text.

    Attributes:
        stream: gives characters; bytes that are not of the encoding are surrogates, as with
            os.fsdecode.
        encoding: the encoding's name.
    """

    stream: io.TextIOWrapper
    encoding: str


def unpacked(file: BinaryIO, path: str) -> BinaryIO:
    """The content of a file that may be compressed with gzip, bzip2 or xz.

    Raises:
        ListError: the name is that of a compressed file, and the file is none.
    """
    head = file.read(_HEAD_BYTES)
    file.seek(0)
    expected = next((end for end in _PACKED if path.lower().endswith(end)), None)
    found = next((end for end, magic in _PACKED.items() if head.startswith(magic)), None)
    if expected and found != expected:
        raise ListError(
            f"{path} is no {expected} file, though its name says so, but {content_of(head)}"
        )
    if found == ".bz2" != expected:
        return file  # text may begin like this
    if found == ".gz":
        return cast("BinaryIO", gzip.GzipFile(fileobj=file))
    if found == ".bz2":
        return cast("BinaryIO", bz2.BZ2File(file))
    return cast("BinaryIO", lzma.LZMAFile(file)) if found else file


@contextlib.contextmanager
def opened_text(file: BinaryIO, encoding: str | None, newline: str) -> Iterator[Text]:
    """A file as text; the file is closed at the end.

    A mark at the beginning decides about the encoding; else the given name; else null bytes, which
    show UTF-16 and UTF-32; else it is UTF-8.

    Args:
        file: at its beginning.
        encoding: the encoding of files without a mark; None to recognise it.
        newline: what ends a line: "" for all forms, which are kept as they are.
    """
    head = file.read(_HEAD_BYTES)
    file.seek(0)
    marked = next((name for mark, name in _MARKS if head.startswith(mark)), None)
    nulls = tuple(byte == 0 for byte in head[:4])
    stated = marked or encoding or _NULLS.get(nulls, UTF8)
    name = codecs.lookup(stated).name
    # Half characters of UTF-16 can't become surrogates; everything else can.
    errors = "strict" if name.startswith(("utf-16", "utf-32")) else "surrogateescape"
    codec = "utf-8-sig" if name == UTF8 else name
    with io.TextIOWrapper(file, codec, errors, newline=newline) as stream:
        yield Text(stream, UTF8 if name == UTF8 else stated)


def lines_of(text: Text, path: str, expected: str = "") -> Iterator[str]:
    """All lines, with their ends.

    Args:
        text: the list.
        path: its path, for errors.
        expected: what was expected, for errors.

    Raises:
        ListError: a line is too long.
    """
    while line := text.stream.readline(LONGEST):
        if len(line) == LONGEST:
            error = f"{path} has a line of more than {LONGEST:,} characters. {expected}"
            raise ListError(error.rstrip(". "))
        yield line


def valid_text(text: str) -> str:
    r"""Text with escapes for halves of surrogate pairs.

    Those that stand for bytes that are not UTF-8 become ``\xNN``, as in opened_text; others, which
    JSON may have, become ``\uNNNN``.
    """
    return text if text.isascii() else _HALF.sub(_escape, text)


def _escape(found: re.Match[str]) -> str:
    code = ord(found[0])
    return f"\\x{code - 0xDC00:02x}" if 0xDC80 <= code <= 0xDCFF else f"\\u{code:04x}"


def encoding_note(path: str, encoding: str, rows: int, delimiter: str | None = None) -> list[Note]:
    """A note that states how a list was read, if that is not the usual way.

    Args:
        path: the list's path.
        encoding: the name of its encoding.
        rows: the number of its rows.
        delimiter: what is between values, if it is not the usual one for the list's name.
    """
    if encoding == UTF8 and delimiter is None:
        return []
    between = f" with {delimiter!r} between values," if delimiter else ""
    return [Note(path, f"{{row}} read{between} as {encoding.upper()}", rows)]
