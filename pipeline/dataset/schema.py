"""The columns of the dataset."""

from __future__ import annotations

from collections.abc import Iterable

import pyarrow as pa

from encoder.spec import EncoderSpec
from pipeline.dataset.manifest import EncoderState, unreadable
from pipeline.dataset.part_files import opened
from pipeline.records import EMBEDDINGS, Kind

SPEC_KEY = b"encoder"  # in the Parquet schema metadata
FOLDER_COLUMNS = ("encoder", "run")  # readers derive these from the names of folders
NO_COLUMNS = pa.schema([])
TRUNCATED = pa.field("truncated", pa.bool_())  # with --allow-truncated


def schema_of(kind: Kind, spec: EncoderSpec, extra_columns: Iterable[pa.Field] = ()) -> pa.Schema:
    """The Arrow schema of one kind of part, EMBEDDINGS or FAILURES.

    Args:
        kind: the part's kind.
        spec: the encoder's spec.
        extra_columns: further columns of embeddings: carried ones, and truncated.
    """
    if kind == EMBEDDINGS:
        fields = [
            pa.field("uri", pa.string(), nullable=False),
            pa.field("embedding", pa.list_(pa.float32(), spec.dim), nullable=False),
            pa.field("width", pa.int32(), nullable=False),
            pa.field("height", pa.int32(), nullable=False),
            pa.field("bytes", pa.int64(), nullable=False),
            pa.field("version", pa.string(), nullable=False),
            pa.field("sha256", pa.string(), nullable=False),
            *extra_columns,
        ]
    else:
        fields = [
            pa.field("uri", pa.string(), nullable=False),
            pa.field("version", pa.string(), nullable=False),
            pa.field("bytes", pa.int64(), nullable=False),
            pa.field("stage", pa.string(), nullable=False),
            pa.field("error", pa.string(), nullable=False),
            pa.field("message", pa.string(), nullable=False),
        ]
    return pa.schema(fields, metadata={SPEC_KEY: spec.to_json().encode()})


def extra_columns_of(output: str, state: EncoderState) -> pa.Schema:
    """The extra columns of the live embeddings: carried ones, and truncated.

    Raises:
        JobError: a part can't be read.
    """
    part = next(iter(state.of_kind(EMBEDDINGS)), None)
    if part is None:
        return NO_COLUMNS
    try:
        with opened(output, part.path) as file:
            found = file.schema_arrow.remove_metadata()
    except pa.ArrowException as error:
        raise unreadable(part.path, error) from error
    own = schema_of(EMBEDDINGS, state.spec).names
    return pa.schema([field for field in found if field.name not in own])
