"""Reads a dataset over and over: ``python tests/jobs/kill/reader.py OUTPUT LOG STOP``.

Appends to LOG a line for every snapshot that is new: a digest of its rows. Ends when there is a
file STOP, and writes how many snapshots were read and how often one had to be opened again.
"""

from __future__ import annotations

import hashlib
import pathlib
import sys
from typing import Any

ROOT = pathlib.Path(__file__).parents[3]
sys.path.insert(0, str(ROOT))


def digest_of(table: Any) -> str:
    """Of uris, versions and contents, in whatever order they are."""
    names = ("uri", "version", "sha256")
    rows = sorted(zip(*(table[name].to_pylist() for name in names), strict=True))
    return hashlib.sha256(repr(rows).encode()).hexdigest()


def main(output: str, log: str, stop: str) -> None:
    """See the module."""
    from pipeline.dataset.reader import open_dataset

    last, read, again = "", 0, 0
    with open(log, "w") as file:
        while not pathlib.Path(stop).exists():
            try:
                found = digest_of(open_dataset(output).to_table())
            except FileNotFoundError:
                again += 1
                continue
            read += 1
            if found != last:
                print(found, file=file, flush=True)
                last = found
        print(read, again, file=file)


if __name__ == "__main__":
    main(*sys.argv[1:])
