"""Options of a run: names, defaults, limits, and how sizes and ages are written.

Imports nothing heavy, so that the command line answers at once.
"""

from __future__ import annotations

import argparse
import dataclasses
import io
import math
import re
from datetime import timedelta
from typing import Final, Literal, NamedTuple

from encoder.errors import InputError
from encoder.images.limits import Limits
from encoder.spec import EngineName

DEFAULT_BATCH_SIZE = 8  # images
DEFAULT_MAX_BYTES = 512 << 20  # bytes of one image file or record
DEFAULT_MAX_FAILURE_RATIO = 0.5
DEFAULT_READS = 32  # at the same time
DEFAULT_READ_TIMEOUT = 300.0  # seconds, for one image; see docs/images.md
DEFAULT_DECODE_TIMEOUT = 120.0  # seconds of processor time, for one image; likewise
_LONGEST_TIMEOUT = 86_400.0  # seconds
MAX_READS = 1024
DEFAULT_TARGET_SIZE = 128 << 20  # bytes of a merged part at most
DEFAULT_URI_COLUMN = "uri"

# How quotes in CSV are read; see docs/inputs.md.
Quoting = Literal["auto", "none", "standard"]
QUOTINGS: Final[tuple[Quoting, ...]] = ("auto", "none", "standard")
_DELIMITERS = {"tab": "\t", "\\t": "\t", "comma": ",", "semicolon": ";", "pipe": "|", "space": " "}

GPU_BATCH_SIZE = 64
# Threads per GPU of a worker: while one waits for its batch, the other prepares the next one.
THREADS_PER_GPU = 2

DATAFLOW = "DataflowRunner"
# Beam's DirectRunner may first download a runner of another kind; the Fn API runner needs nothing.
IN_PROCESS = ("FnApiRunner", "DirectRunner")
PORTABLE = ("PortableRunner", "FlinkRunner", "SparkRunner")
ONE_PROCESS = "no_use_multiple_sdk_containers"  # an experiment of Beam, for Dataflow's workers

_SIZES = {"": 1, "B": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}
_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([BKMGT]?)(?:i?B)?", re.I)
_AGE = re.compile(r"(\d+)\s*([hdw])", re.I)
_AGES = {"h": timedelta(hours=1), "d": timedelta(days=1), "w": timedelta(weeks=1)}


class ListOptions(NamedTuple):
    """How lists are read.

    Attributes:
        uri_column: the column of uris, in manifests.
        delimiter: the character between values in CSV; None to recognise it.
        quoting: what quotes mean in CSV.
        encoding: the encoding of text without a byte order mark; None to recognise it.
        parsed: carried columns whose type the user chose: texts are taken by their meaning.
    """

    uri_column: str = DEFAULT_URI_COLUMN
    delimiter: str | None = None
    quoting: Quoting = "auto"
    encoding: str | None = None
    parsed: frozenset[str] = frozenset()


@dataclasses.dataclass(frozen=True)
class JobOptions:
    """How a run treats its images; the options of ``python -m pipeline run``, validated.

    Attributes:
        batch_size: images per call of the encoder; see pipeline.embedding.call_sizes.
        reads: images that a worker reads at the same time.
        read_timeout: seconds that reading one image may take; a slower one is a failure.
        decode_timeout: seconds of processor time that decoding one image may take, likewise.
        max_failure_ratio: the share of the listed images that may fail, 0 to 1.
        allow_empty: accept an input that lists no image, and delete its rows.
        allow_deletes: accept that more than half of the known images were deleted.
        retry_failures: try again images that could not be decoded.
        uri_column: the column of uris, in manifests.
        list_delimiter: the character between values in CSV; None to recognise it.
        list_quoting: what quotes mean in CSV.
        list_encoding: the encoding of lists in text; None to recognise it.
        column_types: carried columns, each with the name of the type that it has to get.
        image_field: feature or column of TFRecord and Parquet files that holds the image; None to
            find it.
        id_field: feature or column that names the image; None for the record's number.
        max_pixels: width times height of one image; a larger one is a failure.
        max_bytes: the size of one image file or record; a larger one is a failure.
        allow_truncated: embed damaged images as far as they can be decoded.
        check_content: share of the unchanged images whose content is read and compared, 0 to 1.
        engine: what computes the vectors: "keras", "ncnn", or "auto" for the faster one.
        trust: allow a bundle with Lambda layers or custom classes, whose code then runs.
        custom_objects: names of modules that define custom classes of the bundle; workers need
            them, too.
        include: globs of files that folder searches take whatever their extension is.
        exclude: globs of files and folders that folder searches and globs leave out.
        allow_root: folders and addresses that lists and links may reach; empty for the defaults.

    Raises:
        InputError: a value is out of range; the message names its option.
    """

    batch_size: int = DEFAULT_BATCH_SIZE
    reads: int = DEFAULT_READS
    read_timeout: float = DEFAULT_READ_TIMEOUT
    decode_timeout: float = DEFAULT_DECODE_TIMEOUT
    max_failure_ratio: float = DEFAULT_MAX_FAILURE_RATIO
    allow_empty: bool = False
    allow_deletes: bool = False
    retry_failures: bool = False
    uri_column: str = DEFAULT_URI_COLUMN
    list_delimiter: str | None = None
    list_quoting: Quoting = "auto"
    list_encoding: str | None = None
    column_types: tuple[tuple[str, str], ...] = ()
    image_field: str | None = None
    id_field: str | None = None
    max_pixels: int = Limits.max_pixels
    max_bytes: int = DEFAULT_MAX_BYTES
    allow_truncated: bool = False
    engine: EngineName = "auto"
    trust: bool = False
    custom_objects: tuple[str, ...] = ()
    check_content: float = 0.0
    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    allow_root: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not 0 <= self.max_failure_ratio <= 1:
            raise InputError(f"--max-failure-ratio is {self.max_failure_ratio:g}; expected 0 to 1")
        if not 0 <= self.check_content <= 1:
            raise InputError(f"--check-content is {self.check_content:g}; expected 0 to 1")
        at_least_one = {
            "batch-size": self.batch_size,
            "reads-in-flight": self.reads,
            "max-pixels": self.max_pixels,
            "max-bytes": self.max_bytes,
        }
        for option, value in at_least_one.items():
            if value < 1:
                raise InputError(f"--{option} is {value}; expected at least 1")
        if self.reads > MAX_READS:
            raise InputError(f"--reads-in-flight is {self.reads}; expected at most {MAX_READS}")
        timeouts = {"read-timeout": self.read_timeout, "decode-timeout": self.decode_timeout}
        for option, seconds in timeouts.items():
            if not 0 < seconds <= _LONGEST_TIMEOUT:
                raise InputError(
                    f"--{option} is {seconds:g}; expected seconds, above 0 and up to "
                    f"{_LONGEST_TIMEOUT:g}"
                )
        if self.list_delimiter is not None:
            _check_delimiter(self.list_delimiter)
        if self.list_quoting not in QUOTINGS:
            expected = ", ".join(QUOTINGS)
            raise InputError(f"--list-quoting is {self.list_quoting!r}; expected {expected}")
        if self.list_encoding is not None:
            _check_encoding(self.list_encoding)
        for option, patterns in (("include", self.include), ("exclude", self.exclude)):
            for pattern in patterns:
                _check_pattern(option, pattern)

    @property
    def limits(self) -> Limits:
        """The limits for decoding."""
        return Limits(self.max_pixels, self.allow_truncated)

    @property
    def lists(self) -> ListOptions:
        """How lists are read."""
        return ListOptions(
            uri_column=self.uri_column,
            delimiter=self.list_delimiter,
            quoting=self.list_quoting,
            encoding=self.list_encoding,
            parsed=frozenset(name for name, _ in self.column_types),
        )


def parse_delimiter(text: str) -> str:
    """Parse a character, or its name: tab, comma, semicolon, pipe or space."""
    return _DELIMITERS.get(text.lower(), text)


def parse_column_type(text: str) -> tuple[str, str]:
    """Parse "NAME=TYPE", such as "id=int64". A name may contain "=".

    Raises:
        argparse.ArgumentTypeError: the text has another form.
    """
    name, _, kind = text.rpartition("=")
    if not name or not kind:
        raise argparse.ArgumentTypeError(f"{text!r}: expected NAME=TYPE, such as id=int64")
    return name, kind


def _check_pattern(option: str, pattern: str) -> None:
    parts = pattern.split("/")
    if not pattern.strip().strip("/") or "." in parts[1:] or ".." in parts or "\0" in pattern:
        raise InputError(
            f"--{option} {pattern!r} matches no file; expected a name such as '*.ppm', or a path "
            "relative to the input such as 'tmp/**', without '.' and '..'"
        )


def parse_size(text: str) -> int:
    """Parse a number of bytes, such as "128MiB". K, M, G and T are powers of 1024.

    Raises:
        argparse.ArgumentTypeError: the text is no size.
    """
    found = _SIZE.fullmatch(text.strip())
    size = int(float(found[1]) * _SIZES[found[2].upper()]) if found else 0
    if size < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no size; expected such as 128MiB or 1GiB")
    return size


def parse_share(text: str) -> float:
    """Parse a share, such as "all", "5%" or "0.05". Returns a number above 0, up to 1.

    Raises:
        argparse.ArgumentTypeError: the text is no such share.
    """
    number = "1" if text.strip().lower() == "all" else text.strip()
    try:
        share = float(number.removesuffix("%")) / (100 if number.endswith("%") else 1)
    except ValueError:
        share = 0.0
    if not 0 < share <= 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no share; expected all, or such as 5%")
    return share


def parse_age(text: str) -> timedelta:
    """Parse a span of time, such as "30d", "12h" or "8w".

    Raises:
        argparse.ArgumentTypeError: the text is no span of time.
    """
    found = _AGE.fullmatch(text.strip())
    try:
        if found:
            return int(found[1]) * _AGES[found[2].lower()]
    except OverflowError:
        pass
    raise argparse.ArgumentTypeError(f"{text!r} is no age; expected such as 30d, 12h or 8w")


def parse_hours(text: str) -> float:
    """Parse a number of hours above 0.

    Raises:
        argparse.ArgumentTypeError: it is something else.
    """
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < math.inf:
        raise argparse.ArgumentTypeError(f"{text!r}; expected a number of hours such as 8 or 0.5")
    return value


def parse_rate(text: str) -> float:
    """Parse a number of images a second above 0; the word measure gives 0.

    Raises:
        argparse.ArgumentTypeError: it is something else.
    """
    if text == "measure":
        return 0.0
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < math.inf:
        raise argparse.ArgumentTypeError(f"{text!r}; expected images a second, or 'measure'")
    return value


def size_text(size: int) -> str:
    """A number of bytes as text, such as "1.4 GiB"."""
    value = float(size)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if value < 1024:
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1024
    return f"{value:,.1f} TiB"


def count_text(count: int, noun: str) -> str:
    """A number with its noun, such as "1 part" or "1,234 parts"."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def _check_delimiter(delimiter: str) -> None:
    if len(delimiter) != 1 or delimiter in '"\r\n':
        raise InputError(
            f"--list-delimiter is {delimiter!r}; expected one character other than a quote, or "
            "tab, comma, semicolon, pipe or space"
        )


def _check_encoding(name: str) -> None:
    try:
        io.TextIOWrapper(io.BytesIO(), name).close()
    except (LookupError, ValueError) as error:
        raise InputError(
            f"--list-encoding is {name!r}: {error}; expected a name such as utf-8, utf-16, "
            "latin-1, cp1252 or shift_jis"
        ) from error
