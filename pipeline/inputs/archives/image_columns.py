"""Find the column of a Parquet file that holds images, and read the images from it."""

from __future__ import annotations

import base64
import binascii
import re

import numpy as np
import pyarrow as pa

from pipeline.dataset.values import is_text
from pipeline.inputs.archives.base import ArchiveError

_USUAL = ("image", "image_bytes", "img", "bytes", "content", "data", "jpg", "jpeg", "png")
_DATA_URL = re.compile(r"data:[^,]*;base64,", re.I)
_URL_SAFE = str.maketrans("-_", "+/", " \t\r\n")


def find_image_column(schema: pa.Schema, name: str | None) -> str:
    """The name of the column that holds image files.

    Args:
        schema: the file's schema.
        name: the column's name; it may also hold text in base64 or lists of bytes as numbers. None
            means the only column of bytes, or the only one with a usual name.

    Raises:
        ArchiveError: there is no such column, or there are several.
    """
    found: list[str] = [field.name for field in schema if _holds_bytes(field.type)]
    columns = ", ".join(f"{field.name} ({field.type})" for field in schema)
    if name:
        if name not in schema.names:
            raise ArchiveError(
                f"there is no column of bytes {name!r}, as --image-column names it; the columns "
                f"are {columns}"
            )
        kind = schema.field(name).type
        if not can_hold_images(kind):
            raise ArchiveError(
                f"the column {name!r}, which --image-column names, holds {kind}; expected bytes, "
                f"text in base64 or lists of whole numbers. The columns are {columns}"
            )
        return name
    usual = [each for each in found if each in _USUAL]
    if len(usual) == 1:
        return usual[0]
    if len(found) != 1:
        raise ArchiveError(
            "no column of bytes to take for images; columns of bytes are: "
            f"{', '.join(found) or 'none'}, and all columns: {columns}. Name one with "
            "--image-column, also one with text in base64"
        )
    return found[0]


def is_manifest(schema: pa.Schema, uri_column: str, image_field: str | None) -> bool:
    """Whether a Parquet file is a list of images, and not an archive of them, by its columns.

    A file that has the column image_field is no list. A file without a column of bytes is a list,
    unless it lacks both image_field and a column of uris. A file with columns of bytes is a list if
    it has a column of uris and no column of bytes has a usual name or holds structs.
    """
    if image_field in schema.names:
        return False
    found = [field.name for field in schema if _holds_bytes(field.type)]
    if uri_column not in schema.names:
        return not found and not image_field
    return not any(name in _USUAL or pa.types.is_struct(schema.field(name).type) for name in found)


def can_hold_images(kind: pa.DataType) -> bool:
    """Whether a column of this type can hold images, once the user has named it."""
    types = pa.types
    if types.is_dictionary(kind):
        return can_hold_images(kind.value_type)
    return _holds_bytes(kind) or is_text(kind) or _holds_numbers(kind)


def images_of(column: pa.Array) -> list[bytes | ArchiveError]:
    """The image files in some rows of a column; an error where there is none."""
    if pa.types.is_dictionary(column.type):
        return images_of(column.dictionary_decode())
    if pa.types.is_struct(column.type):
        return images_of(column.field("bytes"))
    missing = ArchiveError("the row has no image")
    if is_text(column.type):
        return [missing if text is None else _from_base64(text) for text in column.to_pylist()]
    if _holds_numbers(column.type):
        return [_from_numbers(each.values) if each.is_valid else missing for each in column]
    values = column.cast(pa.large_binary()).to_pylist()
    return [missing if value is None else value for value in values]


def _from_base64(text: str) -> bytes | ArchiveError:
    """The bytes that text in base64 stands for, in both alphabets, also of a data URL."""
    digits = _DATA_URL.sub("", text, count=1).translate(_URL_SAFE).rstrip("=")
    try:
        return base64.b64decode(digits + "=" * (-len(digits) % 4), validate=True)
    except (binascii.Error, ValueError) as error:
        return ArchiveError(
            f"the row's image is no base64 ({error}): a text of {len(text):,} characters"
        )


def _from_numbers(values: pa.Array) -> bytes | ArchiveError:
    """The bytes that whole numbers stand for, from 0 to 255 or, as signed ones, -128 to 127."""
    if values.null_count:
        return ArchiveError("the row's list of bytes has nulls in it")
    numbers = values.to_numpy(zero_copy_only=False)
    if len(numbers) and (numbers.min() < -128 or numbers.max() > 255):
        return ArchiveError("the row's list has numbers that are no bytes; expected 0 to 255")
    return bytes(numbers.astype(np.uint8))


def _holds_bytes(kind: pa.DataType) -> bool:
    if pa.types.is_dictionary(kind):
        return _holds_bytes(kind.value_type)
    if pa.types.is_struct(kind):
        place = kind.get_field_index("bytes")
        return place >= 0 and _holds_bytes(kind.field(place).type)
    binary = (pa.types.is_binary, pa.types.is_large_binary, pa.types.is_binary_view)
    return any(test(kind) for test in binary)


def _holds_numbers(kind: pa.DataType) -> bool:
    types = pa.types
    lists = (types.is_list, types.is_large_list, types.is_fixed_size_list)
    return any(test(kind) for test in lists) and bool(types.is_integer(kind.value_type))
