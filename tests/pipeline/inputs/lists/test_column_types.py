import pyarrow as pa
import pytest

from encoder.errors import InputError
from pipeline.inputs.lists.column_types import joined, parse_types


def test_names_of_types():
    names = ["a=text", "b=int64", "c=double", "d=date", "e=timestamp", "f=float", "g=timestamp[ns]"]
    pairs = [tuple(name.split("=")) for name in names]
    found = parse_types(pairs, "abcdefg")
    assert found.types == [
        *(pa.string(), pa.int64(), pa.float64(), pa.date32()),
        *(pa.timestamp("us"), pa.float32(), pa.timestamp("ns")),
    ]


@pytest.mark.parametrize(
    ("pairs", "message"),
    [
        ([("a", "number")], "--column-type a=number: 'number' is no type; expected string, int64"),
        ([("x", "int64")], "--column-type x=int64: --keep does not name the column 'x'"),
        ([("a", "int64"), ("a", "string")], "another --column-type says int64 for 'a'"),
    ],
)
def test_types_that_can_not_be(pairs, message):
    with pytest.raises(InputError, match=message.replace("[", r"\[")):
        parse_types(pairs, ["a"])


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        (pa.null(), pa.bool_(), pa.bool_()),
        (pa.int8(), pa.int64(), pa.int64()),
        (pa.uint64(), pa.int64(), pa.uint64()),
        (pa.int64(), pa.float32(), pa.float64()),
        (pa.float32(), pa.float64(), pa.float64()),
        (pa.bool_(), pa.int64(), pa.string()),
        (pa.date32(), pa.timestamp("us"), pa.string()),
        (pa.timestamp("us"), pa.timestamp("ns"), pa.timestamp("ns")),
        (pa.timestamp("us"), pa.timestamp("us", "UTC"), pa.string()),
        (pa.decimal128(10, 2), pa.decimal128(12, 4), pa.decimal128(12, 4)),
        (pa.binary(), pa.string(), pa.string()),
        (pa.list_(pa.int64()), pa.list_(pa.float64()), pa.list_(pa.float64())),
        (pa.list_(pa.int64()), pa.int64(), pa.string()),
    ],
    ids=str,
)
def test_a_type_for_both(one, other, expected):
    assert joined(one, other) == expected
    assert joined(other, one) == expected


def test_a_name_that_is_not_utf8():
    with pytest.raises(InputError, match="the name of the column is not UTF-8"):
        parse_types([("caf\udce9", "int64")], ["caf\udce9"])
