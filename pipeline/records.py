"""What flows between the steps of the job. No Beam in here."""

from __future__ import annotations

from collections import Counter
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

EMBEDDINGS = "embeddings"
FAILURES = "failures"

# The stages at which an image can fail.
LIST, READ, DECODE, EMBED = "list", "read", "decode", "embed"


class Image(NamedTuple):
    """An image as it was listed. A listing error makes it a failure without further ado."""

    uri: str
    version: str
    bytes: int
    error: str = ""


class Known(NamedTuple):
    """A row that the output already holds for some image: where it is, and for which version.

    The part is a path relative to the output. Rows that are not committed come from a run that
    died. The stage is empty for an embedding.
    """

    part: str
    version: str
    sha256: str
    stage: str
    committed: bool


class Todo(NamedTuple):
    """An image to be read.

    Attributes:
        image: as it was listed.
        counted: the count of the run record that it is in, "new" or "changed".
        old_part, old_sha256: where an embedding of an earlier version lies, and of what content.
    """

    image: Image
    counted: str = "new"
    old_part: str = ""
    old_sha256: str = ""


class Decoded(NamedTuple):
    """An image ready for the encoder; pixels uint8 (height, width, channels)."""

    uri: str
    version: str
    bytes: int
    sha256: str
    width: int
    height: int
    pixels: NDArray[np.uint8]


class Embedded(NamedTuple):
    """An image with its vector, float32 (dim,), and the id of the encoder load that made it."""

    uri: str
    version: str
    bytes: int
    sha256: str
    width: int
    height: int
    embedding: NDArray[np.float32]
    load_id: str


class Failure(NamedTuple):
    """An image that could not be embedded, and why."""

    uri: str
    version: str
    bytes: int
    stage: str
    error: str
    message: str


class Touched(NamedTuple):
    """An image whose version changed but not its content: its row in old_part stays valid."""

    old_part: str
    uri: str
    version: str
    counted: str


class Part(NamedTuple):
    """A finished Parquet file; path relative to the output, size in bytes."""

    kind: str
    path: str
    rows: int
    bytes: int
    load_ids: tuple[str, ...] = ()


class Rewrite(NamedTuple):
    """A part that lost rows; its replacement is None where nothing was left.

    The counts say how many touched images it renews, by how these were counted before.
    """

    old_path: str
    replacement: Part | None
    touched: Counter[str]


class Snapshot(NamedTuple):
    """The output as the run found it. Paths are relative to the output.

    Attributes:
        manifest_version: of the manifest that was read; None where there was none.
        live: parts of this encoder that the manifest names.
        left_over: embedding parts that no manifest names, from runs that died.
        debris: files that nothing can be taken over from.
        stray_records: full paths of run records that the manifest does not name.
    """

    manifest_version: str | None
    live: tuple[Part, ...]
    left_over: tuple[str, ...]
    debris: tuple[str, ...]
    stray_records: tuple[str, ...] = ()


def describe_error(error: BaseException) -> tuple[str, str]:
    """The type's name and a one-line message, for a failure row."""
    message = " ".join(str(error).split()) or type(error).__name__
    return type(error).__name__, message


def failure_of(image: Any, stage: str, error: BaseException) -> Failure:
    """The failure row of anything that has uri, version and bytes."""
    name, message = describe_error(error)
    return Failure(image.uri, image.version, image.bytes, stage, name, message)
