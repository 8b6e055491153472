"""What can be wrong with the parts of one encoder, and which of their rows are worth keeping."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from encoder.errors import InputError
from encoder.spec import EncoderSpec
from encoder.storage.base import join
from encoder.storage.registry import store_for
from pipeline.dataset.layout import encoder_folder, run_of
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
        path: of the file, relative to the output.
        found, expected: what is there and what should be.
        repair: what ``--repair`` does about it; what to know of a note.
        note: it is worth knowing, but nothing is wrong.
    """

    path: str
    found: str
    expected: str
    repair: str
    note: bool = False

    def __str__(self) -> str:
        if self.note:
            return f"note: {self.path}: {self.found}; {self.repair}"
        return f"{self.path}: {self.found}; expected {self.expected}. --repair: {self.repair}"


@dataclasses.dataclass
class CheckedPart:
    """A part that the manifest names, as its file was found.

    Attributes:
        part: with the rows that are really there.
        lost: the file can't be used at all.
        cut: numbers of rows that have to go.
        hashes: of its uris, (rows,) int64.
        extra_columns: columns besides those that every part of its kind has.
        outdated: it lacks columns that others have.
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
    """Read a part from beginning to end. Its file is held in memory, but not its rows.

    Args:
        output: of the dataset.
        state: of the encoder.
        part: as the manifest has it.
        exists: whether there is a file.
    """
    checked = CheckedPart(part)
    problem = _misplaced(state.spec, part)
    if not problem and not exists:
        problem = ("is missing", "the file that manifest.json names")
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
    for name in ("rows", "bytes"):
        said, is_there = getattr(part, name), getattr(checked.part, name)
        if said != is_there:
            found, fix = f"manifest.json says {said:,} {name}", "the number is corrected"
            findings.append(Finding(part.path, found, f"{is_there:,}, as in the file", fix))
    return checked, findings


def check_columns(parts: Sequence[CheckedPart]) -> tuple[pa.Schema, list[Finding]]:
    """All embeddings have to carry the same columns; gives those that all should have."""
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
    """An image has one row, an embedding or a failure; the rows to be given up are marked.

    Kept is an embedding rather than a failure, then what the newest run wrote.
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
    """The encoder spec in the metadata of a part; None where there is none."""
    try:
        return EncoderSpec.from_json((schema.metadata or {}).get(SPEC_KEY, b""))
    except InputError:
        return None


def _misplaced(spec: EncoderSpec, part: Part) -> tuple[str, str] | None:
    folder = encoder_folder(part.kind, spec.id)
    form = re.compile(rf"{re.escape(folder)}/run=[\w.-]+/part-[0-9a-f]+\.parquet")
    if form.fullmatch(part.path):
        return None
    return "is no name of a part", f"{folder}/run=RUN/part-HEX.parquet"


def _read(
    output: str, spec: EncoderSpec, checked: CheckedPart, findings: list[Finding]
) -> tuple[str, str] | None:
    part = checked.part
    full = join(output, part.path)
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
        # Python's hash of a text has 64 bits; equal ones are compared as texts later on.
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
    """(rows,) bool: which vectors have all their values."""
    good = []
    for chunk in column.chunks:
        values = chunk.flatten().to_numpy(zero_copy_only=False)  # a null becomes a NaN
        good.append(np.isfinite(values.reshape(len(chunk), dim)).all(axis=1))
    return np.concatenate([*good, np.empty(0, bool)])


def _rows_of_suspects(
    output: str, parts: Sequence[CheckedPart]
) -> dict[str, list[tuple[CheckedPart, int]]]:
    """Where the uris are whose hash occurs more than once."""
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
    """When the run of a part began, and when its file was written; later ones are greater."""
    full = join(output, path)
    written = store_for(full).modified(full)
    return started(output, run_of(path)), written.isoformat() if written else ""


def started(output: str, run_id: str) -> str:
    """When a run began, ISO 8601: by its record, else by its id; "" where neither says."""
    try:
        text: Any = read_record(output, run_id)["started"]
        return str(text)
    except (OSError, ValueError, KeyError, TypeError):
        found = _TIME_IN_ID.search(run_id)
    if not found:
        return ""
    year, month, day, hour, minute, second = found.groups()
    return f"{year}-{month}-{day}T{hour}:{minute}:{second}"


def _columns(schema: pa.Schema) -> str:
    texts = (f"{f.name} {f.type}{'' if f.nullable else ' not null'}" for f in schema)
    return ", ".join(texts) or "none"
