"""Values of carried columns keep their types and all digits."""

import datetime
import decimal

import pyarrow as pa
import pytest

from pipeline.dataset.values import plain_type, same, to_arrow, to_plain


@pytest.mark.parametrize(
    "array",
    [
        pa.array([1, None, -(2**63), 2**63 - 1], pa.int64()),
        pa.array([0, 2**64 - 1, None], pa.uint64()),
        pa.array([0.1, None, float("inf"), -0.0], pa.float64()),
        pa.array(["a", "", None, "caf\u00e9"], pa.string()),
        pa.array([b"\xff", b"", None], pa.binary()),
        pa.array([True, None, False], pa.bool_()),
        pa.array([decimal.Decimal("1.10"), None], pa.decimal128(10, 2)),
        pa.array([datetime.date(1, 1, 1), None, datetime.date(9999, 12, 31)], pa.date32()),
        pa.array([2**62 + 1, None], pa.int64()).cast(pa.timestamp("ns")),
        pa.array([1], pa.int64()).cast(pa.timestamp("us", "Europe/Berlin")),
        pa.array([1, None], pa.int64()).cast(pa.duration("ns")),
        pa.array([1, None], pa.int64()).cast(pa.time64("ns")),
        pa.array([1, None], pa.int32()).cast(pa.time32("ms")),
        pa.array([[1, None], [], None], pa.list_(pa.int32())),
        pa.array([{"x": 1, "y": None}, None], pa.struct([("x", pa.int8()), ("y", pa.string())])),
        pa.array([[("k", 1)], None], pa.map_(pa.string(), pa.int64())),
    ],
    ids=lambda array: str(array.type),
)
def test_there_and_back(array):
    plain = to_plain(array)
    assert to_arrow(plain, array.type).equals(array)
    assert same(plain, to_plain(pa.chunked_array([array])))


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        (pa.dictionary(pa.int32(), pa.string()), pa.string()),
        (pa.null(), pa.string()),
        (pa.string_view(), pa.string()),
        (pa.binary_view(), pa.binary()),
        (pa.binary(4), pa.binary()),
        (pa.list_(pa.float32(), 3), pa.list_(pa.float32())),
        (pa.large_list(pa.null()), pa.list_(pa.string())),
        (pa.struct([("a", pa.null())]), pa.struct([("a", pa.string())])),
        (pa.map_(pa.string(), pa.null()), pa.map_(pa.string(), pa.string())),
        (pa.int16(), pa.int16()),
        (pa.timestamp("ns", "UTC"), pa.timestamp("ns", "UTC")),
    ],
    ids=str,
)
def test_types_that_every_reader_takes(kind, expected):
    assert plain_type(kind) == expected


def test_the_same():
    assert same([1, None, float("nan")], [1, None, float("nan")])
    assert not same([1], [1.0])
    assert not same([1], [True])
    assert not same(["1"], [1])
