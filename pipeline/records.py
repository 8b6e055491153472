"""What flows between the steps of the job. No Beam in here."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

EMBEDDINGS = "embeddings"
FAILURES = "failures"
LISTS = "lists"
CHANGES = "changes"

# The stages at which an image can fail.
LIST, READ, DECODE, EMBED = "list", "read", "decode", "embed"
# Values of the columns that --keep names, in that order, as plain Python values.
Carried = tuple[Any, ...]


class Image(NamedTuple):
    """An image as it was listed, alone or packed in an archive; or such an archive itself.

    Attributes:
        uri, version, bytes: of the image; the version of what is packed is that of its archive.
        error: makes it a failure without further ado, of the given stage.
        stage, error_type: of that failure.
        source: the text of the input that listed it.
        carried: the values that the listing carries over; None where it carries none.
        archive: uri of the archive that it is packed in; "" for a file of its own.
        place: where in that archive, in the terms of its kind.
        segment: which segment of the archive that is in; a segment is read in one go.
    """

    uri: str
    version: str
    bytes: int
    error: str = ""
    stage: str = LIST
    error_type: str = "ListError"
    source: str = ""
    carried: Carried | None = None
    archive: str = ""
    place: int = 0
    segment: int = 0


class Known(NamedTuple):
    """A row that the output already holds for some image: where it is, and for which version.

    The part is a path relative to the output. Rows that are not committed come from a run that
    died. The stage is empty for an embedding. Kept values are None where the part has not all of
    the columns.
    """

    part: str
    version: str
    sha256: str
    stage: str
    committed: bool
    carried: Carried | None = None


class KnownRow(NamedTuple):
    """A known row, by its uri."""

    uri: str
    known: Known


class ListState(NamedTuple):
    """What a list names now: a file with its uris lies in the output, at a relative path."""

    list_uri: str
    uris_path: str


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
    truncated: bool
    carried: Carried | None
    pixels: NDArray[np.uint8]


class Load(NamedTuple):
    """An encoder that was loaded: an id that no other load has, and what it computes on."""

    id: str
    computes_on: str


class Embedded(NamedTuple):
    """An image with its vector, float32 (dim,), and the encoder load that made it.

    The load is None where the vector was copied from another row of the same content.
    """

    uri: str
    version: str
    bytes: int
    sha256: str
    width: int
    height: int
    truncated: bool
    carried: Carried | None
    embedding: NDArray[np.float32]
    load: Load | None


class Failure(NamedTuple):
    """An image that could not be embedded, and why."""

    uri: str
    version: str
    bytes: int
    stage: str
    error: str
    message: str


class Touched(NamedTuple):
    """An image whose vector in old_part stays valid, while other values of its row change.

    Its version changed but not its content, or what a list carries over for it changed. Counted
    is the count of the run record that it leaves for "unchanged"; "" if it is there already.
    """

    old_part: str
    uri: str
    version: str
    counted: str
    carried: Carried | None = None


class Part(NamedTuple):
    """A finished Parquet file; path relative to the output, size in bytes.

    Its rows come from these loads of the encoder; copied is how many come from none.
    The crc32c of its content is 8 hex digits; "" where it is not known.
    """

    kind: str
    path: str
    rows: int
    bytes: int
    loads: tuple[Load, ...] = ()
    copied: int = 0
    crc32c: str = ""


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
        resumable: embedding parts that no manifest names, from runs that died.
        useless: files that nothing can be taken over from.
        stray_records: full paths of run records that the manifest does not name.
        lists: the lists that earlier runs read, and where their uris lie.
        unfinished: what lists named in runs that died.
    """

    manifest_version: str | None
    live: tuple[Part, ...]
    resumable: tuple[str, ...]
    useless: tuple[str, ...]
    stray_records: tuple[str, ...] = ()
    lists: tuple[ListState, ...] = ()
    unfinished: tuple[ListState, ...] = ()


def describe_error(error: BaseException) -> tuple[str, str]:
    """The type's name and a one-line message, for a failure row."""
    message = " ".join(str(error).split()) or type(error).__name__
    return type(error).__name__, message.encode("utf-8", "backslashreplace").decode()


def failure_of(image: Any, stage: str, error: BaseException) -> Failure:
    """The failure row of anything that has uri, version and bytes."""
    name, message = describe_error(error)
    return Failure(image.uri, image.version, image.bytes, stage, name, message)


# uri, part, version, sha256, stage, committed, kept: a uri, and the fields of Known.
KnownTuple = tuple[str, str, str, str, str, bool, Carried | None]
