"""The collection of test_histories.py, and the dataset that is expected for it."""

from __future__ import annotations

import functools
import hashlib
import os
import pathlib

import numpy as np

import encoder.bundle
from tests.support.packed import picture, tar

BAD = b"no image"
ANCHOR = 99


class World:
    """A folder of images with an archive in it, and a list of images in another folder."""

    def __init__(self, base: pathlib.Path) -> None:
        self.base = base
        self.packed: dict[str, bytes] = {}
        self.listed: set[str] = set()
        self.clock = 10**18
        for folder in ("in", "elsewhere"):
            (base / folder).mkdir()
        self.write(base / "in" / "anchor.png", picture(ANCHOR))  # an image that never fails
        self.write(base / "list.txt", b"")

    def write(self, path: pathlib.Path, data: bytes) -> None:
        path.write_bytes(data)
        self.age(path)

    def age(self, path: pathlib.Path) -> None:
        """Give every change a different time, independent of the file system's clock."""
        self.clock += 1000
        os.utime(path, ns=(self.clock, self.clock))

    def name(self, names: set[str]) -> None:
        self.listed = names
        lines = "".join(f"elsewhere/{name}\n" for name in sorted(names))
        self.write(self.base / "list.txt", lines.encode())

    def repack(self) -> None:
        path = self.base / "in" / "packed.tar"
        tar(path, self.packed.items())
        self.age(path)

    def expected(self) -> tuple[dict[str, tuple[str, str]], dict[str, tuple[str, str]]]:
        """The expected rows (uri -> version, sha256) and failures (uri -> version, stage)."""
        there: dict[str, tuple[str, bytes]] = {}
        failures: dict[str, tuple[str, str]] = {}
        paths = [*(self.base / "in").glob("*.png")]
        paths += [self.base / "elsewhere" / name for name in self.listed]
        for path in paths:
            if path.exists():
                there[str(path)] = (version(path), path.read_bytes())
            else:
                failures[str(path)] = ("", "list")
        archive = self.base / "in" / "packed.tar"
        if archive.exists():
            for name, data in self.packed.items():
                there[f"{archive}#{name}"] = (version(archive), data)
        failures |= {uri: (v, "decode") for uri, (v, data) in there.items() if data == BAD}
        rows = {
            uri: (v, hashlib.sha256(data).hexdigest())
            for uri, (v, data) in there.items()
            if data != BAD
        }
        return rows, failures


def version(path: pathlib.Path) -> str:
    state = path.stat()
    return f"{state.st_mtime_ns}-{state.st_size}"


load = functools.cache(encoder.bundle.load)


@functools.cache
def vector_of(bundle: pathlib.Path, sha256: str) -> np.ndarray:
    """The vector of one of the images."""
    pictures = (picture(seed) for seed in (*range(6), ANCHOR))
    data = next(each for each in pictures if hashlib.sha256(each).hexdigest() == sha256)
    loaded = load(str(bundle))
    return loaded.embed(loaded.decode(data)[None])[0]
