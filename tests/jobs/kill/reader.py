"""Reads a dataset repeatedly: ``python tests/jobs/kill/reader.py OUTPUT LOG STOP``.

Appends a line to LOG for each new snapshot: a digest of its rows. Ends when the file STOP exists,
and writes how many snapshots it read and how often it had to open one again.
"""

from __future__ import annotations

import hashlib
import pathlib
import sys
from typing import Any

ROOT = pathlib.Path(__file__).parents[3]
sys.path.insert(0, str(ROOT))


def digest_of(table: Any) -> str:
    """A digest of uris, versions and contents that does not depend on their order."""
    names = ("uri", "version", "sha256")
    rows = sorted(zip(*(table[name].to_pylist() for name in names), strict=True))
    return hashlib.sha256(repr(rows).encode()).hexdigest()


def main(output: str, log: str, stop: str) -> None:
    """Read until the file STOP exists."""
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
