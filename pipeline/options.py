"""What options are where nobody says otherwise. Imports nothing, so the command line is quick."""

from __future__ import annotations

import argparse
import re
from datetime import timedelta

DEFAULT_BATCH_SIZE = 8  # images
DEFAULT_MAX_BYTES = 512 << 20  # of one image file or record
DEFAULT_MAX_FAILURE_RATIO = 0.5
DEFAULT_READS = 32  # at the same time
DEFAULT_TARGET_SIZE = 128 << 20  # bytes of a merged part
DEFAULT_URI_COLUMN = "uri"
_SIZES = {"": 1, "B": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}
_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([BKMGT]?)(?:i?B)?", re.I)
_AGE = re.compile(r"(\d+)\s*([hdw])", re.I)
_AGES = {"h": timedelta(hours=1), "d": timedelta(days=1), "w": timedelta(weeks=1)}
GPU_BATCH_SIZE = 64
# Of a worker, for each GPU: while one waits for its batch, another gets the next one ready.
THREADS_PER_GPU = 2
DATAFLOW = "DataflowRunner"
# Beam's DirectRunner may first download a runner of another kind; the first one is in the package.
IN_PROCESS = ("FnApiRunner", "DirectRunner")
ONE_PROCESS = "no_use_multiple_sdk_containers"


def parse_size(text: str) -> int:
    """Bytes, from such as "128MiB"; K, M, G and T are powers of 1024.

    Raises:
        argparse.ArgumentTypeError: it is no size.
    """
    found = _SIZE.fullmatch(text.strip())
    size = int(float(found[1]) * _SIZES[found[2].upper()]) if found else 0
    if size < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no size; expected such as 128MiB or 1GiB")
    return size


def parse_age(text: str) -> timedelta:
    """A span of time, from such as "30d", "12h" or "8w".

    Raises:
        argparse.ArgumentTypeError: it is none.
    """
    found = _AGE.fullmatch(text.strip())
    try:
        if found:
            return int(found[1]) * _AGES[found[2].lower()]
    except OverflowError:
        pass
    raise argparse.ArgumentTypeError(f"{text!r} is no age; expected such as 30d, 12h or 8w")


def size_text(size: int) -> str:
    """Bytes for people: "1.4 GiB"."""
    value = float(size)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if value < 1024:
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1024
    return f"{value:,.1f} TiB"


def count_text(count: int, noun: str) -> str:
    """A number with its noun: "1 part", "1,234 parts"."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"
