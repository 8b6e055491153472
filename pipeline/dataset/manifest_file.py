"""The file ``manifest.json``: its fields, their types and ranges, and the paths in it."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timezone
from typing import Annotated, Literal, NamedTuple, TypeAlias, TypedDict

import msgspec

from encoder.errors import InputError
from encoder.spec import EncoderSpec, check_id
from encoder.strict_json import parse_json
from pipeline.dataset.layout import MANIFEST, RUN_ID, OwnFile, own_file
from pipeline.records import EMBEDDINGS, FAILURES, LISTS, Kind

FORMAT = "image-embeddings/1"
_LARGEST = 2**53  # whole numbers up to this are the same in every reader of JSON

Count: TypeAlias = Annotated[int, msgspec.Meta(ge=0, le=_LARGEST)]
Measure: TypeAlias = Annotated[float, msgspec.Meta(ge=0, le=_LARGEST)]
MeasureName: TypeAlias = Annotated[str, msgspec.Meta(pattern=r"\A[a-z]{1,20}(_[a-z]{1,20}){0,3}\Z")]
# The parts of a run, one after the other; see docs/operations.md.
Phase = Literal["plan", "embed", "commit"]
RunId: TypeAlias = Annotated[str, msgspec.Meta(pattern=rf"\A{RUN_ID}\Z")]
EncoderId: TypeAlias = Annotated[str, msgspec.Meta(pattern=r"\A[0-9a-f]{16}\Z")]
Time: TypeAlias = Annotated[  # ISO 8601, UTC
    str,
    msgspec.Meta(pattern=r"\A\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,9})?(Z|\+00:00)\Z"),
]


def parse_time(text: str) -> datetime:
    """A Time of a file; a fraction of a second is left out.

    Raises:
        ValueError: there is no such day or hour.
    """
    return datetime.strptime(text[:19], "%Y-%m-%dT%H:%M:%S").replace(tzinfo=timezone.utc)


_Checksum: TypeAlias = Annotated[str, msgspec.Meta(pattern=r"\A([0-9a-f]{8})?\Z")]


class MeasureEntry(TypedDict):
    """A measure of a run: how many values, their sum, and the largest; see pipeline.measures."""

    count: Count
    sum: Measure
    max: Measure


class _AnyFormat(msgspec.Struct):
    """The fields that manifests of all formats have."""

    format: str


class PartEntry(msgspec.Struct, forbid_unknown_fields=True):
    """A live part."""

    path: str
    rows: Count
    bytes: Count
    crc32c: _Checksum = ""


class InputEntry(msgspec.Struct):
    """An input of the runs; see KnownInput."""

    base: str
    pattern: str = ""
    is_file: bool = False
    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()


class EncoderEntry(msgspec.Struct):
    """The live files of one encoder."""

    spec: dict[str, object]  # as encoder.json has it; EncoderSpec checks it
    embeddings: list[PartEntry]
    failures: list[PartEntry]
    lists: dict[str, str] = msgspec.field(default_factory=dict)
    inputs: list[InputEntry] = msgspec.field(default_factory=list)


class ManifestFile(msgspec.Struct):
    """``manifest.json``; the fields are written in this order."""

    format: str
    runs: dict[str, str]
    encoders: dict[str, EncoderEntry]
    removed: list[str]
    upkeep: str = ""
    publishing: list[str] = msgspec.field(default_factory=list)


class Misplaced(NamedTuple):
    """An entry that names something else than a file or encoder of this dataset.

    Attributes:
        place: of the entry in the file.
        found: what is wrong with it.
        encoder_id: the encoder whose entry it is in; "" if it is in none.
        is_live: whether the entry was to name live rows, whose file may still be there.
    """

    place: str
    found: str
    encoder_id: str = ""
    is_live: bool = False

    def __str__(self) -> str:
        return f"{self.place} {self.found}"


def parse(text: bytes) -> ManifestFile:
    """The content of the file. The paths in it are not checked yet.

    Raises:
        ValueError: it is no JSON, has another format, or a value has another type or range.
    """
    values = parse_json(text, names=True)
    found = msgspec.convert(values, _AnyFormat).format
    if found != FORMAT:
        raise ValueError(f"format {found!r}, expected {FORMAT!r}")
    return msgspec.convert(values, ManifestFile)


def take_out_misplaced(file: ManifestFile) -> list[Misplaced]:
    """Take out the entries with names and paths that this project does not write there."""
    misplaced = []
    for run in [run for run in file.runs if own_file(f"runs/{run}.json") is None]:
        misplaced.append(Misplaced("runs", f"has the key {run!r}, which is no id of a run"))
        del file.runs[run]
    for name, entry in list(file.encoders.items()):
        try:
            check_id(name, "the key is")
            spec = EncoderSpec.from_values(entry.spec, "its spec")
            if spec.id != name:
                raise InputError(f"it holds the spec of encoder {spec.id}")
        except InputError as error:
            misplaced.append(Misplaced(f"encoders[{name!r}]:", str(error), name, is_live=True))
            del file.encoders[name]
            continue
        misplaced += _take_out_of_entry(name, entry)
    for path in file.removed:
        if not _may_be_removed(path):
            misplaced.append(Misplaced("removed", f"names {path!r}"))
    file.removed = [path for path in file.removed if _may_be_removed(path)]
    for path in file.publishing:
        if not _may_be_published(path):
            misplaced.append(Misplaced("publishing", f"names {path!r}"))
    file.publishing = [path for path in file.publishing if _may_be_published(path)]
    return misplaced


def _take_out_of_entry(encoder_id: str, entry: EncoderEntry) -> Iterator[Misplaced]:
    def wrong(field: str, path: str, is_live: bool) -> Misplaced:
        place = f"encoders[{encoder_id!r}].{field}"
        return Misplaced(place, f"names {path!r}", encoder_id, is_live)

    entry.embeddings, other = _of(entry.embeddings, EMBEDDINGS, encoder_id)
    yield from (wrong(EMBEDDINGS, path, is_live=True) for path in other)
    entry.failures, other = _of(entry.failures, FAILURES, encoder_id)
    yield from (wrong(FAILURES, path, is_live=True) for path in other)
    for list_uri, path in list(entry.lists.items()):
        if not _is_file_of(path, LISTS, encoder_id):
            yield wrong("lists", path, is_live=False)
            del entry.lists[list_uri]


def _of(parts: list[PartEntry], kind: Kind, encoder_id: str) -> tuple[list[PartEntry], list[str]]:
    """The first entry of each part of this kind and encoder, and the paths of other entries."""
    good: dict[str, PartEntry] = {}
    other = []
    for part in parts:
        if _is_file_of(part.path, kind, encoder_id) and part.path not in good:
            good[part.path] = part
        else:
            other.append(part.path)
    return list(good.values()), other


def _is_file_of(path: str, kind: Kind, encoder_id: str) -> bool:
    found = own_file(path)
    return found is not None and _is_final(found, kind) and found.encoder_id == encoder_id


def _may_be_removed(path: str) -> bool:
    return own_file(path) is not None and path != MANIFEST


def _may_be_published(path: str) -> bool:
    found = own_file(path)
    return found is not None and _is_final(found, EMBEDDINGS, FAILURES)


def _is_final(found: OwnFile, *kinds: Kind) -> bool:
    return found.kind in kinds and not (found.staged or found.half)
