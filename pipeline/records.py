"""The records that flow between the steps of a job. No Beam, and nothing heavy is imported."""

from __future__ import annotations

import dataclasses
from collections import Counter
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple, Protocol, get_args

from encoder.printable import cut

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

# The kinds of files that a dataset holds for an encoder; each has a folder of that name.
Kind = Literal["embeddings", "failures", "lists", "changes"]
EMBEDDINGS: Final = "embeddings"
FAILURES: Final = "failures"
LISTS: Final = "lists"
CHANGES: Final = "changes"

# The stages at which an image can fail.
Stage = Literal["list", "read", "decode", "embed"]
LIST: Final = "list"
READ: Final = "read"
DECODE: Final = "decode"
EMBED: Final = "embed"

# How an image that has to be read is counted in the run record.
Counted = Literal["new", "changed"]

# The counts of the run record that planning decides.
Total = Literal[
    "listed", "new", "changed", "unchanged", "resumed", "deleted", "renewed", "repeated"
]
TOTALS: Final[tuple[Total, ...]] = get_args(Total)

# Values of the carried columns, in the order of --keep, as plain Python values of any type.
Carried = tuple[Any, ...]


class Image(NamedTuple):
    """A listed image, in its own file or in an archive, or an archive itself.

    Attributes:
        uri: the image's uri.
        version: the image's version; a packed image has the version of its archive.
        bytes: size of the file or packed file; 0 if it is not known yet.
        error: why the image can't be read; it then becomes a failure row of the given stage.
        stage: the stage of that failure.
        error_type: the error's type.
        source: the text of the input that listed the image.
        carried: values of the carried columns; None if the listing has none.
        archive: uri of the archive that holds the image; None for an image in its own file.
        place: the place in the archive, in the form of the archive's kind.
        segment: the archive's segment; a segment is read in one go.
        row: number of the list's row, counted over all lists of the input; 0 without a list.
    """

    uri: str
    version: str
    bytes: int
    error: str | None = None
    stage: Stage = LIST
    error_type: str = "ListError"
    source: str = ""
    carried: Carried | None = None
    archive: str | None = None
    place: int = 0
    segment: int = 0
    row: int = 0


class Note(NamedTuple):
    """Something that a run tells the user, such as files that it leaves aside.

    Notes with the same subject and text are told in one line, with the sum of their numbers.

    Attributes:
        subject: what the note is about: an input, as the user wrote it, or a uri.
        text: what there is to tell, with the noun of the number in braces: "{file} left aside".
        number: how many there are.
        example: a uri or value for which it holds; "" for none.
    """

    subject: str
    text: str
    number: int = 1
    example: str = ""


class Known(NamedTuple):
    """A row that the output already holds for an image.

    Attributes:
        part: path of the part that holds the row, relative to the output.
        version: the version of the image that the row was made from.
        sha256: the digest of that image's content, in hex; None for a failure.
        stage: the stage of the failure; None for an embedding.
        committed: whether the manifest names the part. Other parts wait since their run did not
            commit.
        carried: values of the carried columns; None if the part lacks one of them.
    """

    part: str
    version: str
    sha256: str | None
    stage: Stage | None
    committed: bool
    carried: Carried | None = None


# A uri, and the fields of Known: the form in which rows are packed, since it takes less memory.
KnownTuple = tuple[str, str, str, str | None, Stage | None, bool, Carried | None]


class KnownRow(NamedTuple):
    """A known row, and the uri of its image."""

    uri: str
    known: Known


class ListState(NamedTuple):
    """A list, and the file that holds the uris it named, as a path relative to the output."""

    list_uri: str
    uris_path: str


class ListRows(NamedTuple):
    """A list that was read to its end, and the number of its rows."""

    list_uri: str
    rows: int


class OldRow(NamedTuple):
    """An embedding that the output has of an image.

    Attributes:
        part: the part that holds it.
        sha256: of its content, in hex.
        renews: whether the listing carries other values than the row.
    """

    part: str
    sha256: str | None
    renews: bool = False


class KnownInput(NamedTuple):
    """An input of an earlier run, which names the images at its place until a run shows otherwise.

    Attributes:
        base: the folder or file where listing starts, absolute or an address.
        pattern: a glob relative to the base; "" for a folder or a file.
        is_file: whether the base is a file.
        include: globs of files that it takes besides images.
        exclude: globs of files that it leaves out.
    """

    base: str
    pattern: str = ""
    is_file: bool = False
    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()

    @property
    def place(self) -> tuple[str, str, bool]:
        """What makes it the same input in another run."""
        return self.base, self.pattern, self.is_file


class Share(NamedTuple):
    """One of several shares into which the uris of a partition are divided; see runs.shares.

    Attributes:
        partition: the partition of the uris.
        number: of the share, from 0.
        of: into how many shares the partition is divided.
    """

    partition: int = 0
    number: int = 0
    of: int = 1


class Staged(NamedTuple):
    """What a run takes of the waiting part of a run that did not commit, among one share of uris.

    Attributes:
        share: the uris that were decided on together.
        taken: uris whose rows the run takes; None for all.
        kept: number of rows that keep waiting, for a run that lists their images.
    """

    share: Share
    taken: frozenset[str] | None
    kept: int


class Todo(NamedTuple):
    """An image that has to be read.

    Attributes:
        image: the listed image.
        counted: how the run record counts it.
        old: its embedding, if the output has one.
        check: whether the version is that of the embedding, and only the content may be another.
    """

    image: Image
    counted: Counted = "new"
    old: OldRow | None = None
    check: bool = False


class Decoded(NamedTuple):
    """An image that is ready for the encoder; pixels are uint8 (height, width, channels)."""

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
    """One load of the encoder: an id that no other load has, what it computes on, its seconds."""

    id: str
    computes_on: str
    seconds: float = 0.0


class Embedded(NamedTuple):
    """An image with its vector, float32 (dim,), and the load of the encoder that computed it.

    The load is None if the vector was copied from another row with the same content.
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
    stage: Stage
    error: str
    message: str


class Touched(NamedTuple):
    """A row whose vector stays valid while its version or its carried values change.

    Attributes:
        old_part: the part that holds the row, relative to the output.
        uri: the image's uri.
        version: the new one.
        counted: how planning counted the image, which turned out to be unchanged; None if
            planning had counted it as unchanged.
        carried: the new values; None if they stay.
    """

    old_part: str
    uri: str
    version: str
    counted: Counted | None
    carried: Carried | None = None


class Checked(NamedTuple):
    """An image whose content was checked: its row stays as it is."""

    uri: str


class Part(NamedTuple):
    """A finished Parquet file.

    Attributes:
        kind: the kind of its rows.
        path: relative to the output.
        rows: the number of rows.
        bytes: the file's size.
        loads: the encoder loads that computed its vectors.
        copied: the number of vectors that were copied from other rows.
        crc32c: the file's checksum, 8 hex digits; None if it is not known.
        reasons: (stage, error) of its failures, with the number of rows.
    """

    kind: Kind
    path: str
    rows: int
    bytes: int
    loads: tuple[Load, ...] = ()
    copied: int = 0
    crc32c: str | None = None
    reasons: tuple[tuple[str, str, int], ...] = ()


class Rewrite(NamedTuple):
    """A part that was written again without some of its rows.

    Attributes:
        old_path: the path of the old part, relative to the output.
        replacement: the new part; None if no row is left.
        touched: the number of its images that turned out to be unchanged, by the way in which
            planning counted them.
        kept: number of rows of a waiting part that keep waiting; its file stays.
        found: number of its images that counted as unchanged, until their content was read.
    """

    old_path: str
    replacement: Part | None
    touched: Counter[Counted]
    kept: int = 0
    found: int = 0


@dataclasses.dataclass
class Counts:
    """The counts of planning.

    Attributes:
        totals: numbers of images, by the names of the run record.
        listed_by: the number of images that each input listed, by the input's text.
        gone_from: the number of deleted images that each input would have listed.
        known: images with committed rows that the inputs cover.
        lost: those of them that are gone.
        failing: images that are known to fail before they are read.
    """

    totals: Counter[Total] = dataclasses.field(default_factory=Counter)
    listed_by: Counter[str] = dataclasses.field(default_factory=Counter)
    gone_from: Counter[str] = dataclasses.field(default_factory=Counter)
    known: int = 0
    lost: int = 0
    failing: int = 0

    def add(self, other: Counts) -> None:
        """Add the counts of another part of the collection."""
        self.totals.update(other.totals)
        self.listed_by.update(other.listed_by)
        self.gone_from.update(other.gone_from)
        self.known += other.known
        self.lost += other.lost
        self.failing += other.failing


class _HasUri(Protocol):
    """An Image or a Decoded."""

    @property
    def uri(self) -> str: ...
    @property
    def version(self) -> str: ...
    @property
    def bytes(self) -> int: ...


def describe_error(error: BaseException) -> tuple[str, str]:
    """The type's name and a one-line message, for a failure row."""
    message = " ".join(cut(str(error)).split()) or type(error).__name__
    return type(error).__name__, message.encode("utf-8", "backslashreplace").decode()


def failure_of(image: _HasUri, stage: Stage, error: BaseException) -> Failure:
    """The failure row of an image, listed or decoded."""
    name, message = describe_error(error)
    return Failure(image.uri, image.version, image.bytes, stage, name, message)
