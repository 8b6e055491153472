"""Values of carried columns keep their types and all digits."""

import datetime
import decimal

import pyarrow as pa
import pytest

from pipeline.dataset.values import MisfitError, fitted, plain_type, same, to_arrow, to_plain


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


FAR = datetime.datetime(9999, 12, 31)


@pytest.mark.parametrize(
    ("array", "kind", "expected"),
    [
        (pa.array([1, None, 2**53], pa.int64()), pa.float64(), [1.0, None, 2.0**53]),
        (pa.array([5.0, None]), pa.int64(), [5, None]),
        (pa.array([1, 2], pa.int64()), pa.uint64(), [1, 2]),
        (pa.array([0.5, None]), pa.float32(), [0.5, None]),
        (pa.array([FAR], pa.timestamp("us")), pa.date32(), [FAR.date()]),
        (pa.array([FAR.date()]), pa.timestamp("us"), [FAR]),
        (pa.array([FAR], pa.timestamp("s")), pa.timestamp("us"), [FAR]),
        (pa.array([5]), pa.decimal128(10, 2), [decimal.Decimal("5.00")]),
        (pa.array([1.1]), pa.decimal128(10, 2), [decimal.Decimal("1.10")]),
        (pa.array(["a", "a"]).dictionary_encode(), pa.large_string(), ["a", "a"]),
        (pa.array([None, None]), pa.int64(), [None, None]),
        (pa.array([[1, None], None]), pa.list_(pa.float64()), [[1.0, None], None]),
        (pa.array([{"a": 1}]), pa.struct({"a": pa.int8(), "b": pa.bool_()}), [{"a": 1, "b": None}]),
        (pa.array([b"caf\xc3\xa9", None]), pa.string(), ["caf\u00e9", None]),
        (pa.array(["x"]), pa.binary(), [b"x"]),
        (pa.array(["5", None, "-7"]), pa.int64(), [5, None, -7]),
        (pa.array(["18446744073709551615"]), pa.uint64(), [2**64 - 1]),
        (pa.array(["0.1", "5", "1e-07"]), pa.float64(), [0.1, 5.0, 1e-07]),
        (pa.array(["true", "false"]), pa.bool_(), [True, False]),
        (
            pa.array(["2024-01-02 10:30:00"]),
            pa.timestamp("s"),
            [datetime.datetime(2024, 1, 2, 10, 30)],
        ),
        (pa.array(["1.10"]), pa.decimal128(10, 2), [decimal.Decimal("1.10")]),
        (pa.array(["10:30"]), pa.time64("us"), [datetime.time(10, 30)]),
    ],
    ids=lambda value: str(getattr(value, "type", value)),
)
def test_values_that_fit_another_type(array, kind, expected):
    found = fitted(array, kind)
    assert found.type == kind
    assert found.to_pylist() == expected
    assert fitted(pa.chunked_array([array, array]), kind).to_pylist() == expected * 2


def test_nan_stays_nan():
    found = fitted(pa.array([float("nan"), 1.5], pa.float64()), pa.float32())
    assert str(found.to_pylist()) == "[nan, 1.5]"
    assert str(fitted(pa.array([[float("nan")]]), pa.list_(pa.float32())).to_pylist()) == "[[nan]]"


@pytest.mark.parametrize(
    ("array", "kind", "row", "value"),
    [
        (pa.array([1, 2**53 + 1], pa.int64()), pa.float64(), 1, "9007199254740993"),
        (pa.array([1, 2**24 + 1], pa.int64()), pa.float32(), 1, "16777217"),
        (pa.array([2**64 - 1], pa.uint64()), pa.int64(), 0, "18446744073709551615"),
        (pa.array([-1]), pa.uint64(), 0, "-1"),
        (pa.array([300]), pa.int8(), 0, "300"),
        (pa.array([1.0, 1.5]), pa.int64(), 1, "1.5"),
        (pa.array([float("nan")]), pa.int64(), 0, "nan"),
        (pa.array([0.5, 0.1]), pa.float32(), 1, "0.1"),
        (pa.array([FAR], pa.timestamp("us")), pa.timestamp("ns"), 0, "9999-12-31T00:00:00"),
        (pa.array([1], pa.timestamp("ns")), pa.timestamp("us"), 0, "1970-01-01T00:00:00.000000001"),
        (pa.array([FAR.date()]), pa.timestamp("ns"), 0, "9999-12-31"),
        (pa.array([1], pa.timestamp("s")), pa.date32(), 0, "1970-01-01T00:00:01"),
        (pa.array([1], pa.timestamp("s")), pa.timestamp("s", "UTC"), 0, "1970-01-01T00:00:01"),
        (pa.array([1]), pa.timestamp("s"), 0, "1"),
        (pa.array([True]), pa.int64(), 0, "true"),
        (pa.array([1]), pa.bool_(), 0, "1"),
        (pa.array([2.345]), pa.decimal128(10, 2), 0, "2.345"),
        (pa.array([[1.5]]), pa.list_(pa.int64()), 0, "[1.5]"),
        (pa.array([{"a": 1, "b": 2}]), pa.struct({"a": pa.int64()}), 0, '{"a": 1, "b": 2}'),
        (pa.array([b"a", b"\xff"]), pa.string(), 1, "b'\\xff'"),
        (pa.array(["5", "00501"]), pa.int64(), 1, "00501"),
        (pa.array(["5.0"]), pa.int64(), 0, "5.0"),
        (pa.array(["12e45678"]), pa.float64(), 0, "12e45678"),
        (pa.array(["12345678901234567890"]), pa.float64(), 0, "12345678901234567890"),
        (pa.array(["1.10"]), pa.float64(), 0, "1.10"),
        (pa.array(["True"]), pa.bool_(), 0, "True"),
        (pa.array(["1"]), pa.bool_(), 0, "1"),
        (pa.array([""]), pa.int64(), 0, ""),
        (pa.array(["[1]"]), pa.list_(pa.int64()), 0, "[1]"),
    ],
    ids=lambda value: str(getattr(value, "type", value)),
)
def test_values_that_do_not_fit(array, kind, row, value):
    with pytest.raises(MisfitError, match="does not fit") as found:
        fitted(array, kind)
    assert (found.value.row, found.value.value) == (row, value)
    with pytest.raises(MisfitError) as found:
        fitted(pa.chunked_array([array.slice(0, row), array]), kind)
    assert found.value.row == 2 * row


@pytest.mark.parametrize(
    ("array", "texts"),
    [
        (pa.array([2**63, None], pa.uint64()), ["9223372036854775808", None]),
        (pa.array([5.0, 0.1, 1e20, float("inf")]), ["5.0", "0.1", "1e+20", "inf"]),
        (pa.array([0.1], pa.float32()), ["0.1"]),
        (pa.array([True, False]), ["true", "false"]),
        (pa.array([FAR.date()]), ["9999-12-31"]),
        (pa.array([FAR], pa.timestamp("us")), ["9999-12-31T00:00:00"]),
        (pa.array([1], pa.timestamp("ns")), ["1970-01-01T00:00:00.000000001"]),
        (pa.array([0], pa.timestamp("s", "UTC")), ["1970-01-01T00:00:00Z"]),
        (pa.array([0], pa.timestamp("ms", "Europe/Berlin")), ["1970-01-01T01:00:00+01:00"]),
        (pa.array([datetime.time(1, 2, 3)]), ["01:02:03"]),
        (pa.array([1500], pa.duration("ms")), ["1500 ms"]),
        (pa.array([decimal.Decimal("1.10")]), ["1.10"]),
        (pa.array([["a", None], None]), ['["a", null]', None]),
        (pa.array([{"d": FAR.date(), "b": b"x"}]), ['{"d": "9999-12-31", "b": "x"}']),
        (pa.array([b"caf\xc3\xa9"]), ["caf\u00e9"]),
    ],
    ids=lambda value: str(getattr(value, "type", "")),
)
def test_text_takes_everything(array, texts):
    assert fitted(array, pa.string()).to_pylist() == texts


@pytest.mark.parametrize(
    ("text", "kind", "value"),
    [
        (" 5.0", pa.int64(), 5),
        ("00501", pa.int64(), 501),
        ("1e3", pa.int64(), 1000),
        (" ", pa.int64(), None),
        ("1.10", pa.float64(), 1.1),
        ("00501", pa.float64(), 501.0),
        ("True", pa.bool_(), True),
        ("0", pa.bool_(), False),
        (" 2024-01-02 ", pa.date32(), datetime.date(2024, 1, 2)),
        ("01.5", pa.decimal128(10, 2), decimal.Decimal("1.50")),
        (" x ", pa.binary(), b" x "),
    ],
)
def test_texts_by_their_meaning(text, kind, value):
    assert fitted(pa.array([text]), kind, parse=True).to_pylist() == [value]


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        *(("5.5", pa.int64()), ("1_0", pa.int64()), ("1e999999", pa.int64()), ("x", pa.int64())),
        *(("256", pa.uint8()), ("-1", pa.uint64())),
        *(
            ("12e45678", pa.float64()),
            ("12345678901234567890", pa.float64()),
            ("1_0", pa.float64()),
        ),
        *(("yes", pa.bool_()), ("2024", pa.date32()), ("1.105", pa.decimal128(10, 2))),
        ("12", pa.time64("us")),
    ],
)
def test_texts_without_that_meaning(text, kind):
    with pytest.raises(MisfitError):
        fitted(pa.array([text]), kind, parse=True)
