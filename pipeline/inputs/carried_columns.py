"""Find the carried columns of a dataset and their types, before the job starts.

A column has one type for the life of the dataset. The dataset decides about it, or the first run
that carries the column; --column-type sets another one.
"""

from __future__ import annotations

import functools
import io
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from encoder.errors import InputError
from encoder.spec import EncoderSpec
from pipeline.dataset.manifest import read_manifest
from pipeline.dataset.schema import (
    FOLDER_COLUMNS,
    NO_COLUMNS,
    TRUNCATED,
    extra_columns_of,
    schema_of,
)
from pipeline.dataset.values import is_text, plain_type
from pipeline.errors import JobError
from pipeline.inputs.archives.base import ArchiveError, Packing, opened
from pipeline.inputs.archives.image_columns import find_image_column
from pipeline.inputs.archives.parquet_files import check_carried
from pipeline.inputs.file_kinds import CSV, PARQUET, TEXT, archive_kind, list_kind
from pipeline.inputs.files import Linked, Unreadable, list_files
from pipeline.inputs.lists.base import ListError
from pipeline.inputs.lists.column_types import joined, parse_types
from pipeline.inputs.lists.registry import carried_types, check_columns, check_values
from pipeline.inputs.resolve import is_list
from pipeline.inputs.roots import Roots
from pipeline.inputs.source import Input
from pipeline.inputs.stores.timeouts import in_time
from pipeline.inputs.uris import path_of
from pipeline.options import JobOptions, ListOptions
from pipeline.records import EMBEDDINGS


class Before(NamedTuple):
    """The extra columns that a dataset has before a run.

    Attributes:
        own: those of this encoder's embeddings.
        others: those of other encoders' embeddings, by name; their types hold for new columns.
    """

    own: pa.Schema = NO_COLUMNS
    others: pa.Schema = NO_COLUMNS

    def type_of(self, name: str) -> pa.DataType | None:
        """The type of a column; None if the dataset does not have it."""
        schema = next((each for each in self if name in each.names), None)
        return schema.field(name).type if schema else None


def check_lists(inputs: Sequence[Input], options: JobOptions) -> None:
    """Check each list that is an input of its own, and each Parquet file of images.

    Raises:
        InputError: a list can't be read or has no column of uris, or a file lacks the column that
            --image-column names.
    """
    # In other files, the option may name something that a Parquet file does not have.
    for_parquet = options.image_field and all(
        archive_kind(source.pattern or source.base) == PARQUET for source in inputs
    )
    for source in inputs:
        if not source.is_file or not source.may_hold_lists():
            continue
        try:
            if for_parquet:
                schema = _schema_of(source.base)
                if schema is not None:
                    find_image_column(schema, options.image_field)
            else:
                check = functools.partial(_check_list, options=options)
                next(in_time(map(check, [source]), options.read_timeout, "reading the list"))
        except (ListError, ArchiveError, OSError) as error:
            raise InputError(f"--input {source.text}: {error}") from error


def _check_list(source: Input, options: JobOptions) -> None:
    if is_list(source, source.base, options.uri_column, options.image_field):
        check_columns(source.base, options.lists)


def columns_before(output: str, spec: EncoderSpec) -> Before:
    """The extra columns that a dataset has.

    Raises:
        JobError: the dataset can't be read.
    """
    encoders = read_manifest(output)[0].encoders
    others: dict[str, pa.Field] = {}
    try:
        own = encoders.get(spec.id)
        for encoder_id, state in encoders.items():
            if encoder_id != spec.id:
                found = extra_columns_of(output, state)
                others = {**{field.name: field for field in found}, **others}
        return Before(
            extra_columns_of(output, own) if own else NO_COLUMNS, pa.schema(others.values())
        )
    except OSError as error:
        raise JobError(f"the output can't be read ({error}); start the run again") from error


def carried_columns(
    inputs: Sequence[Input], keep: Sequence[str], options: JobOptions, before: Before
) -> pa.Schema:
    """The types of the columns in --keep, into which the values of all inputs fit.

    --column-type decides first, then the dataset, then the manifests and Parquet files of the
    inputs: of a new column all values are looked at.

    Args:
        inputs: the run's inputs.
        keep: the names of the columns.
        options: the options of the run.
        before: the columns that the dataset has.

    Returns:
        a field for each column.

    Raises:
        InputError: there is no such file, one lacks a column, a value does not fit into its
            column's type, or --column-type is wrong.
    """
    chosen = parse_types(options.column_types, keep)
    if not keep:
        return NO_COLUMNS
    if len(set(keep)) < len(keep):
        raise InputError(f"--keep names a column twice: {', '.join(keep)}")
    known = {name: before.type_of(name) for name in keep}
    known |= {field.name: field.type for field in chosen}
    new = [name for name in keep if known[name] is None]
    found = []
    try:
        for file in _files(inputs, options):
            types = _types_in(file, keep, new, options.lists)
            if types is not None:
                found.append((file, types))
        if not found:
            raise InputError(
                f"--keep {','.join(keep)}: no input is a manifest (CSV, JSON Lines or Parquet) or "
                "a Parquet file of images, from which columns could be carried over"
            )
        known |= {name: _common_type(name, found) for name in new}
        carried = pa.schema([pa.field(name, known[name]) for name in keep])
        _check_writable(carried)
        for file, types in found:
            _check_values(file, types, carried, options)
    except (ListError, JobError) as error:
        raise InputError(f"--keep: {error}") from error
    return carried


def dataset_columns(
    spec: EncoderSpec, before: Before, carried: pa.Schema, truncated: bool
) -> pa.Schema:
    """The dataset's extra columns: those it has already, and those of this run.

    A column that the dataset has, and whose type --column-type changes, has the new type.

    Args:
        spec: the encoder's spec.
        before: the columns that the dataset has.
        carried: the carried columns of this run.
        truncated: whether this run writes the column `truncated`.

    Raises:
        InputError: a name is taken.
    """
    own = schema_of(EMBEDDINGS, spec).names
    taken = [*own, *FOLDER_COLUMNS]
    for name in (*carried.names, *((TRUNCATED.name,) if truncated else ())):
        if name in taken or (name == TRUNCATED.name and name in carried.names):
            raise InputError(
                f"--keep {name}: every dataset has a column {name!r} of its own; rename it in the "
                "manifest"
            )
    taken += [TRUNCATED.name, *before.own.names]
    for name in carried.names:
        alike = [
            each
            for each in (*taken, *carried.names)
            if each != name and each.casefold() == name.casefold()
        ]
        if alike and name not in before.own.names:
            raise InputError(
                f"--keep {name}: the dataset has a column {alike[0]!r}, and readers such as DuckDB "
                "take names in upper and lower case for the same; rename it in the manifest"
            )
    types = {field.name: field.type for field in (*before.own, *carried)}
    if truncated:
        types[TRUNCATED.name] = TRUNCATED.type
    return pa.schema(list(types.items()))


class _File(NamedTuple):
    """A file that may have columns to carry over: a list, or a Parquet file of images."""

    path: str
    is_list: bool


def _files(inputs: Sequence[Input], options: JobOptions) -> Iterator[_File]:
    for source in filter(Input.may_hold_lists, inputs):
        for found in list_files(source, roots=Roots(options.allow_root, tuple(inputs))):
            file = found.image if isinstance(found, Linked) else found
            if isinstance(file, Unreadable) or file.error:
                continue
            path = path_of(file.uri)
            if is_list(source, path, options.uri_column, options.image_field):
                if list_kind(path) != TEXT:
                    yield _File(path, True)
            elif archive_kind(path) == PARQUET:
                yield _File(path, False)


def _types_in(
    file: _File, keep: Sequence[str], new: Sequence[str], options: ListOptions
) -> pa.Schema | None:
    """The types in a file, of new columns alone where finding a type takes a look at all values.

    None if the file is damaged; it becomes a failure.
    """
    if file.is_list:
        cheap = list_kind(file.path) == PARQUET
        names = keep if cheap else new
        return carried_types(file.path, options, names) if names else NO_COLUMNS
    schema = _schema_of(file.path)
    if schema is None:
        return None
    missing = [name for name in keep if name not in schema.names]
    if missing:
        has = ", ".join(schema.names)
        raise ListError(f"{file.path} has no column {missing[0]!r}; it has {has}")
    try:
        return pa.schema([pa.field(name, plain_type(schema.field(name).type)) for name in keep])
    except RecursionError as error:
        raise ListError(f"{file.path} has a column of too many nested types") from error


def _schema_of(path: str) -> pa.Schema | None:
    """The columns of a Parquet file; None if it is damaged, and becomes a failure."""
    try:
        with opened(path) as file:
            return pq.read_schema(file).remove_metadata()
    except ArchiveError:
        return None


def _common_type(name: str, found: Sequence[tuple[_File, pa.Schema]]) -> pa.DataType:
    """The type of a new column, from the types in all files."""
    texts, others = pa.null(), pa.null()
    for file, types in found:
        kind = types.field(name).type
        if not file.is_list or list_kind(file.path) != CSV:
            others = joined(others, kind)
        elif pa.types.is_null(texts) or pa.types.is_null(kind) or kind == texts:
            texts = joined(texts, kind)
        else:
            texts = pa.string()  # 5 is not the text 5.0
    return plain_type(joined(others, texts))


def _check_values(file: _File, types: pa.Schema, carried: pa.Schema, options: JobOptions) -> None:
    """Check the columns of a file whose types are not known to fit.

    Raises:
        ListError, JobError: a value does not fit.
    """
    other = [
        field
        for field in carried
        if field.name not in types.names or types.field(field.name).type != field.type
    ]
    if file.is_list and list_kind(file.path) == CSV and all(is_text(f.type) for f in other):
        # Every text fits, so there is no need to read the whole list.
        check_columns(file.path, options.lists, [field.name for field in other])
    elif other and file.is_list:
        check_values(file.path, options.lists, pa.schema(other))
    elif other:
        packing = Packing(carried=pa.schema(other), parsed=options.lists.parsed)
        try:
            with opened(file.path) as archive:
                check_carried(archive, file.path, packing)
        except ArchiveError:
            return  # it becomes a failure


def _check_writable(carried: pa.Schema) -> None:
    for field in carried:
        schema = pa.schema([field])
        try:
            pq.write_table(schema.empty_table(), io.BytesIO())
        except pa.ArrowException as error:
            raise InputError(
                f"--keep {field.name}: values of type {field.type} can't be written: {error}. "
                f"--column-type {field.name}=string makes them text"
            ) from error
