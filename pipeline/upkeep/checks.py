"""Check the parts of one encoder: find what is wrong, and which rows can be kept."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from encoder.errors import InputError
from encoder.spec import EncoderSpec
from encoder.storage.registry import store_for
from pipeline.dataset.layout import encoder_folder, full_path, run_of
from pipeline.dataset.manifest import EncoderState, read_record
from pipeline.dataset.part_files import UNREADABLE, batches_of, checksum, read_batches
from pipeline.dataset.schema import NO_COLUMNS, SPEC_KEY, schema_of
from pipeline.options import count_text
from pipeline.records import EMBEDDINGS, FAILURES, Part

AGAIN = "its images are embedded again in the next run"
_TIME_IN_ID = re.compile(r"(\d{4})(\d\d)(\d\d)T(\d\d)(\d\d)(\d\d)Z")


class Finding(NamedTuple):
    """Something that verify found.

    Attributes:
        path: of the file or folder, relative to the output.
        found: what was found.
        expected: what was expected; None for a note.
        repair: what ``--repair`` does about it; for a note, an explanation.
        note: whether this is for information only: nothing is wrong.
    """

    path: str
    found: str
    expected: str | None
    repair: str
    note: bool = False

    def __str__(self) -> str:
        if self.note:
            return f"note: {self.path}: {self.found}; {self.repair}"
        return f"{self.path}: {self.found}; expected {self.expected}. --repair: {self.repair}"


@dataclasses.dataclass
class CheckedPart:
    """A part that the manifest names, and the state of its file.

    Attributes:
        part: with the rows, bytes and checksum of the file.
        lost: whether the file can't be used at all.
        cut: numbers of the rows to remove.
        hashes: hashes of the uris, (rows,) int64.
        extra_columns: columns besides those that all parts of its kind have.
        outdated: whether it lacks columns that other parts have.
    """

    part: Part
    lost: bool = False
    cut: set[int] = dataclasses.field(default_factory=set)
    hashes: NDArray[np.int64] = dataclasses.field(default_factory=lambda: np.empty(0, np.int64))
    extra_columns: pa.Schema = NO_COLUMNS
    outdated: bool = False

    @property
    def is_right(self) -> bool:
        """Whether the part can stay as it is."""
        return not (self.lost or self.cut or self.outdated)


def check_part(
    output: str, state: EncoderState, part: Part, exists: bool
) -> tuple[CheckedPart, list[Finding]]:
    """Read a whole part. Its file is held in memory, but not its decoded rows.

    Args:
        output: the dataset's folder.
        state: the encoder's live files.
        part: as the manifest lists it.
        exists: whether the file exists.
    """
    checked = CheckedPart(part)
    problem = None if exists else ("is missing", "the file that manifest.json names")
    findings: list[Finding] = []
    if not problem:
        try:
            problem = _read(output, state.spec, checked, findings)
        except UNREADABLE as error:
            text = " ".join(str(error).split())
            problem = (f"can't be read ({text})", "a whole Parquet file")
    if problem:
        checked.lost = True
        loss = AGAIN if part.kind == EMBEDDINGS else "its images are tried again in the next run"
        return checked, [Finding(part.path, *problem, f"taken out; {loss}")]
    for name, listed, actual in (
        ("rows", part.rows, checked.part.rows),
        ("bytes", part.bytes, checked.part.bytes),
    ):
        if listed != actual:
            found, fix = f"manifest.json says {listed:,} {name}", "the number is corrected"
            findings.append(Finding(part.path, found, f"{actual:,}, as in the file", fix))
    return checked, findings


def check_columns(parts: Sequence[CheckedPart]) -> tuple[pa.Schema, list[Finding]]:
    """Check that all embeddings have the same extra columns. Returns those that all should have.

    Marks parts as lost or outdated.
    """
    union, findings = NO_COLUMNS, []
    usable = [each for each in parts if each.part.kind == EMBEDDINGS and not each.lost]
    for each in usable:
        try:
            union = pa.unify_schemas([union, each.extra_columns])
        except pa.ArrowException:
            each.lost = True
            found = f"carries the columns {_columns(each.extra_columns)}"
            findings.append(Finding(each.part.path, found, _columns(union), f"taken out; {AGAIN}"))
    for each in usable:
        if not each.lost and each.extra_columns != union:
            each.outdated = True
            found = f"carries the columns {_columns(each.extra_columns)}"
            fix = "written again with all columns"
            findings.append(Finding(each.part.path, found, _columns(union), fix))
    return union, findings


def check_duplicates(output: str, spec: EncoderSpec, parts: Sequence[CheckedPart]) -> list[Finding]:
    """Check that every image has one row, an embedding or a failure; marks the rows to remove.

    Embeddings are kept before failures, then rows of newer runs before those of older ones.
    """
    usable = [each for each in parts if not each.lost]
    places = _rows_of_suspects(output, usable)
    ages: dict[str, tuple[str, str]] = {}
    examples = []
    for uri, rows in places.items():
        if len(rows) < 2:
            continue
        for each, _ in rows:
            ages.setdefault(each.part.path, _age(output, each.part.path))
        rows.sort(key=lambda row: (row[0].part.kind == EMBEDDINGS, ages[row[0].part.path], row[1]))
        for each, number in rows[:-1]:
            each.cut.add(number)
        examples.append(f"{uri} in {rows[-1][0].part.path} and {rows[-2][0].part.path}")
    if not examples:
        return []
    found = f"{count_text(len(examples), 'uri')} with more than one row, such as {min(examples)}"
    path = encoder_folder(EMBEDDINGS, spec.id)
    return [Finding(path, found, "one row per image", "the newest row stays, embeddings first")]


def spec_in(schema: pa.Schema) -> EncoderSpec | None:
    """The encoder spec in the metadata of a part; None if there is none."""
    try:
        return EncoderSpec.from_json((schema.metadata or {}).get(SPEC_KEY, b""))
    except InputError:
        return None


def _read(
    output: str, spec: EncoderSpec, checked: CheckedPart, findings: list[Finding]
) -> tuple[str, str] | None:
    part = checked.part
    full = full_path(output, part.path)
    data = store_for(full).read(full)[0]
    crc32c = checksum(data)
    if len(data) != part.bytes and part.crc32c != crc32c:
        return f"has {len(data):,} bytes", f"{part.bytes:,}, as manifest.json says"
    if part.crc32c not in (None, crc32c):
        return f"has the checksum {crc32c}", f"{part.crc32c}, as manifest.json says"
    file = pq.ParquetFile(pa.BufferReader(data), page_checksum_verification=True)
    schema = file.schema_arrow
    expected = schema_of(part.kind, spec)
    if list(schema)[: len(expected)] != list(expected):
        return f"has the columns {_columns(schema)}", _columns(expected)
    checked.extra_columns = pa.schema(list(schema)[len(expected) :])
    if part.kind == FAILURES and checked.extra_columns:
        return f"has the columns {_columns(schema)}", _columns(expected)
    own = spec_in(schema)
    if own is None or own.id != spec.id or own.vector_settings() != spec.vector_settings():
        found = f"that of encoder {own.id}" if own else "none"
        return f"holds the encoder spec {found}", f"that of encoder {spec.id}"
    hashes, rows, example = [], 0, ""
    for table in batches_of(file):
        uris = table.column("uri").to_pylist()
        # Python's hash of a string has 64 bits; uris with equal hashes are compared later.
        hashes.append(np.fromiter(map(hash, uris), np.int64, len(uris)))
        if part.kind == EMBEDDINGS:
            for number in np.flatnonzero(~_finite(table.column("embedding"), spec.dim)):
                checked.cut.add(rows + int(number))
                example = example or uris[number]
        rows += len(uris)
    checked.hashes = np.concatenate([*hashes, np.empty(0, np.int64)])
    checked.part = part._replace(rows=rows, bytes=len(data), crc32c=crc32c)
    if checked.cut:
        several = count_text(len(checked.cut), "vector")
        found = f"{several} with NaN or infinite values, such as that of {example}"
        fix = "the rows are taken out; their images are embedded again in the next run"
        findings.append(Finding(part.path, found, "finite values", fix))
    return None


def _finite(column: pa.ChunkedArray, dim: int) -> NDArray[np.bool_]:
    """Which vectors have finite values only: (rows,) bool."""
    good = []
    for chunk in column.chunks:
        values = chunk.flatten().to_numpy(zero_copy_only=False)  # a null becomes a NaN
        good.append(np.isfinite(values.reshape(len(chunk), dim)).all(axis=1))
    return np.concatenate([*good, np.empty(0, bool)])


def _rows_of_suspects(
    output: str, parts: Sequence[CheckedPart]
) -> dict[str, list[tuple[CheckedPart, int]]]:
    """uri -> its rows (part, number), for all uris whose hash occurs more than once."""
    hashes, counts = np.unique(
        np.concatenate([*(each.hashes for each in parts), np.empty(0, np.int64)]),
        return_counts=True,
    )
    suspects = hashes[counts > 1]
    places: dict[str, list[tuple[CheckedPart, int]]] = {}
    for each in parts if len(suspects) else ():
        numbers = set(np.flatnonzero(np.isin(each.hashes, suspects)).tolist()) - each.cut
        if numbers:
            for number, uri in enumerate(_uris(output, each.part.path)):
                if number in numbers:
                    places.setdefault(uri, []).append((each, number))
    return places


def _uris(output: str, path: str) -> Iterator[str]:
    for table in read_batches(output, path, ["uri"]):
        yield from table.column("uri").to_pylist()


def _age(output: str, path: str) -> tuple[str, str]:
    """The times when a part's run began and when its file was written."""
    full = full_path(output, path)
    written = store_for(full).modified(full)
    return started(output, run_of(path) or ""), written.isoformat() if written else ""


def started(output: str, run_id: str) -> str:
    """The start of a run (ISO 8601, UTC), from its record or its id; "" if neither has it."""
    try:
        return read_record(output, run_id)["started"]
    except (OSError, ValueError):
        found = _TIME_IN_ID.search(run_id)
    if not found:
        return ""
    year, month, day, hour, minute, second = found.groups()
    return f"{year}-{month}-{day}T{hour}:{minute}:{second}"


def _columns(schema: pa.Schema) -> str:
    texts = (f"{f.name} {f.type}{'' if f.nullable else ' not null'}" for f in schema)
    return ", ".join(texts) or "none"
