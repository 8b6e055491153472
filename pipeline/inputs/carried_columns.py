"""Find the carried columns of a dataset and their types, before the job starts."""

from __future__ import annotations

import io
from collections.abc import Sequence

import pyarrow as pa
import pyarrow.parquet as pq

from encoder.errors import InputError
from encoder.spec import EncoderSpec
from encoder.storage.registry import store_for
from pipeline.dataset.manifest import read_manifest
from pipeline.dataset.schema import (
    FOLDER_COLUMNS,
    NO_COLUMNS,
    TRUNCATED,
    extra_columns_of,
    schema_of,
)
from pipeline.dataset.values import plain_type
from pipeline.errors import JobError
from pipeline.inputs.archives.base import ArchiveError, translated_damage
from pipeline.inputs.file_kinds import PARQUET, TEXT, archive_kind, list_kind
from pipeline.inputs.files import Unreadable, list_files
from pipeline.inputs.lists.base import ListError
from pipeline.inputs.lists.registry import carried_types, check_columns
from pipeline.inputs.resolve import is_list
from pipeline.inputs.source import Input
from pipeline.inputs.uris import path_of
from pipeline.records import EMBEDDINGS


def check_lists(inputs: Sequence[Input], uri_column: str, image_field: str | None) -> None:
    """Check that each list that is an input of its own can be read and has a column of uris.

    Raises:
        InputError: a list can't be read or has no such column.
    """
    for source in inputs:
        try:
            if source.is_file and is_list(source, source.base, uri_column, image_field):
                check_columns(source.base, uri_column)
        except (ListError, OSError) as error:
            raise InputError(f"--input {source.text}: {error}") from error


def carried_columns(
    inputs: Sequence[Input], keep: Sequence[str], uri_column: str, image_field: str | None
) -> pa.Schema:
    """The types of the columns in --keep, from all manifests and Parquet files of the inputs.

    Args:
        inputs: the run's inputs.
        keep: the names of the columns.
        uri_column: the column of uris, in manifests.
        image_field: the column of images that the user chose; None for none.

    Returns:
        a field for each column, with a type that fits all files.

    Raises:
        InputError: there is no such file, one lacks a column, or the types do not fit together.
    """
    if not keep:
        return NO_COLUMNS
    if len(set(keep)) < len(keep):
        raise InputError(f"--keep names a column twice: {', '.join(keep)}")
    found = []
    for source in filter(Input.may_hold_lists, inputs):
        for file in list_files(source):
            if isinstance(file, Unreadable) or file.error:
                continue
            path = path_of(file.uri)
            try:
                if is_list(source, path, uri_column, image_field):
                    if list_kind(path) != TEXT:
                        found.append(carried_types(path, uri_column, keep))
                elif archive_kind(path) == PARQUET:
                    found.append(_types_in_parquet(path, keep))
            except ListError as error:
                raise InputError(f"--keep: {error}") from error
            except ArchiveError:
                continue  # a damaged file, which becomes a failure
    if not found:
        raise InputError(
            f"--keep {','.join(keep)}: no input is a manifest (CSV, JSON Lines or Parquet) or a "
            "Parquet file of images, from which columns could be carried over"
        )
    return _unified(found, "--keep: the manifests disagree")


def dataset_columns(
    output: str, spec: EncoderSpec, carried: pa.Schema, truncated: bool
) -> pa.Schema:
    """The dataset's extra columns: those it has already, and those of this run.

    Args:
        output: the dataset.
        spec: the encoder's spec.
        carried: the carried columns of this run.
        truncated: whether this run writes the column `truncated`.

    Raises:
        InputError: a name is taken, or a column has another type in the dataset.
        JobError: the dataset can't be read.
    """
    own = schema_of(EMBEDDINGS, spec).names
    for name in (*carried.names, *((TRUNCATED.name,) if truncated else ())):
        taken = name in own or name in FOLDER_COLUMNS
        if taken or (name == TRUNCATED.name and name in carried.names):
            raise InputError(
                f"--keep {name}: every dataset has a column {name!r} of its own; rename it in the "
                "manifest"
            )
    _check_writable(carried)
    state = read_manifest(output)[0].encoders.get(spec.id)
    try:
        before = extra_columns_of(output, state) if state else NO_COLUMNS
    except OSError as error:
        raise JobError(f"the output can't be read ({error}); start the run again") from error
    added = [*carried, *([TRUNCATED] if truncated else [])]
    return _unified([before, pa.schema(added)], "--keep: the dataset has other types")


def _types_in_parquet(path: str, keep: Sequence[str]) -> pa.Schema:
    with translated_damage(), store_for(path).open(path) as file:
        schema = pq.read_schema(file).remove_metadata()
    missing = [name for name in keep if name not in schema.names]
    if missing:
        raise ListError(f"{path} has no column {missing[0]!r}; it has {', '.join(schema.names)}")
    return pa.schema([pa.field(name, plain_type(schema.field(name).type)) for name in keep])


def _check_writable(carried: pa.Schema) -> None:
    for field in carried:
        schema = pa.schema([field])
        try:
            pq.write_table(schema.empty_table(), io.BytesIO())
        except pa.ArrowException as error:
            raise InputError(
                f"--keep {field.name}: values of type {field.type} can't be written: {error}"
            ) from error


def _unified(schemas: Sequence[pa.Schema], problem: str) -> pa.Schema:
    try:
        return pa.unify_schemas(list(schemas), promote_options="permissive")
    except pa.ArrowException as error:
        raise InputError(f"{problem} ({' '.join(str(error).split())})") from error
