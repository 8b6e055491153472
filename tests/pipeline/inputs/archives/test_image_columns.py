"""Columns of Parquet files that hold images in other forms than bytes, once they are named."""

import base64
import io

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.inputs.archives.base import ArchiveError, Packing
from pipeline.inputs.archives.image_columns import find_image_column, is_manifest
from pipeline.inputs.archives.parquet_files import index, read
from pipeline.records import Image

DATA = bytes(range(256)) * 2
TEXT = base64.b64encode(DATA).decode()


def images(column, kind=None):
    """What is read from a column of images: bytes, or the error's text."""
    file = io.BytesIO()
    pq.write_table(pa.table({"label": [1] * len(column), "img": pa.array(column, kind)}), file)
    packing = Packing(image_field="img")
    members = list(index(io.BytesIO(file.getvalue()), packing))
    wanted = [Image(m.name, "", 0, place=m.place, segment=m.segment) for m in members]
    found = read(io.BytesIO(file.getvalue()), wanted, packing)
    return [data if isinstance(data, bytes) else str(data) for _, data in found]


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        (TEXT, pa.string()),
        (TEXT, pa.large_string()),
        (TEXT, pa.dictionary(pa.int32(), pa.string())),
        (f"data:image/png;base64,{TEXT}", pa.string()),
        (base64.urlsafe_b64encode(DATA).decode().rstrip("="), pa.string()),
        (base64.encodebytes(DATA).decode(), pa.string()),
        (list(DATA), pa.list_(pa.uint8())),
        (list(DATA), pa.large_list(pa.int64())),
        ([n - 256 if n > 127 else n for n in DATA], pa.list_(pa.int8())),
        (DATA, pa.binary()),
        ({"bytes": DATA, "path": "x"}, None),
    ],
    ids=lambda value: str(value)[:20],
)
def test_forms_of_images(value, kind):
    assert images([value, None, value], kind) == [DATA, "the row has no image", DATA]


def test_lists_of_one_length():  # with nulls, pyarrow can't read its own file
    assert images([list(DATA), list(DATA[::-1])], pa.list_(pa.uint8(), 512)) == [DATA, DATA[::-1]]


@pytest.mark.parametrize(
    ("value", "kind", "message"),
    [
        ("photos/a.png", pa.string(), "the row's image is no base64"),
        ("\u00e9", pa.string(), "the row's image is no base64"),
        ([1, 256], pa.list_(pa.int16()), "numbers that are no bytes"),
        ([1, None], pa.list_(pa.uint8()), "nulls in it"),
    ],
)
def test_values_that_are_no_images(value, kind, message):
    found = images([value], kind)
    assert message in found[0]


@pytest.mark.parametrize(
    ("kind", "name", "message"),
    [
        (
            pa.int64(),
            "img",
            r"'img', which --image-column names, holds int64; expected bytes, text",
        ),
        (pa.list_(pa.float32()), "img", r"holds list<item: float>"),
        (pa.string(), "other", r"no column of bytes 'other'.*are uri \(string\), img \(string\)"),
        (pa.string(), None, r"no column of bytes to take for images.*also one with text in base64"),
    ],
)
def test_columns_that_hold_no_images(kind, name, message):
    schema = pa.schema([("uri", pa.string()), ("img", kind)])
    with pytest.raises(ArchiveError, match=message):
        find_image_column(schema, name)


def test_only_a_named_column_makes_an_archive():
    schema = pa.schema([("uri", pa.string()), ("img", pa.string())])
    assert is_manifest(schema, "uri", None)
    assert not is_manifest(schema, "uri", "img")
    assert is_manifest(schema, "uri", "image/encoded")  # of TFRecord files in the same run
    assert is_manifest(schema, "path", None)  # whose error names the columns
    assert not is_manifest(schema, "path", "other")
