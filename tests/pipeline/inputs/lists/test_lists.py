import datetime
import os

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.dataset.values import same, to_arrow, to_plain
from pipeline.inputs.lists import csv_lines, text_input
from pipeline.inputs.lists.base import ListError
from pipeline.inputs.lists.registry import carried_types, read_list
from pipeline.options import ListOptions


def types_of(path, keep, **options):
    return carried_types(str(path), ListOptions(**options), keep)


def entries(path, keep=(), types=None, notes=None, **options):
    """The entries of a list. Columns have the types that fit them, or those given."""
    carried = pa.schema([])
    if keep:
        found = types_of(path, keep, **options)
        kinds = [pa.string() if pa.types.is_null(field.type) else field.type for field in found]
        carried = pa.schema(list(zip(keep, types or kinds, strict=True)))
    return list(
        read_list(str(path), ListOptions(**options), carried, [] if notes is None else notes)
    )


def paths(path, **options):
    return [entry.path for entry in entries(path, **options)]


def test_a_text_file(tmp_path):
    path = tmp_path / "list.txt"
    lines = [b"\xef\xbb\xbfa b#1.jpg", b"", b"/abs/b.png\r", b"gs://bucket/c.jpg", b"../d/\xff.jpg"]
    lines += [b"file:///x%20y.jpg", b" "]
    path.write_bytes(b"\n".join(lines))
    assert paths(path) == [
        f"{tmp_path}/a b#1.jpg",
        "/abs/b.png",
        "gs://bucket/c.jpg",
        f"{tmp_path.parent}/d/" + os.fsdecode(b"\xff.jpg"),
        "/x y.jpg",
    ]
    assert {entry.carried for entry in entries(path)} == {None}


def test_other_stores_are_named(tmp_path):
    path = tmp_path / "list.txt"
    path.write_text("ftp://host/a.jpg\n")
    (entry,) = entries(path)
    assert entry.path == f"{path}#1"
    assert "'ftp://host/a.jpg': unknown scheme ftp://" in entry.error


def test_csv(tmp_path):
    path = tmp_path / "m.CSV"
    path.write_text(
        'label,uri,score,day\n7,a.jpg,0.5,2020-01-02\n,"b,\nc.jpg",,\n8,,1,2021-01-02\n'
    )
    found = entries(path, ["score", "label", "day"])
    assert [entry.path for entry in found] == [
        f"{tmp_path}/a.jpg",
        f"{tmp_path}/b,\nc.jpg",
        f"{path}#3",
    ]
    assert found[0].carried == ("0.5", 7, "2020-01-02")
    assert found[1].carried == ("", None, "")
    assert found[2].error == f"row 3 of {path} has no uri"


def test_tsv_and_a_column_of_another_name(tmp_path):
    path = tmp_path / "m.tsv"
    path.write_text("file\tn\na.jpg\t1\n")
    assert paths(path, uri_column="file") == [f"{tmp_path}/a.jpg"]


def test_csv_types_are_those_of_the_whole_file(tmp_path):
    path = tmp_path / "m.csv"
    rows = [f"{n}.jpg,{n},{'' if n < 99_999 else 'text'}" for n in range(100_000)]
    path.write_text("\n".join(["uri,n,late", *rows]))
    schema = types_of(path, ["n", "late"])
    assert schema.types == [pa.int64(), pa.string()]
    assert entries(path, ["n", "late"])[-1].carried == (99_999, "text")


def test_csv_rows_of_the_wrong_length_are_reported(tmp_path):
    path = tmp_path / "m.csv"
    path.write_text("uri,n\na.jpg,1\nb.jpg,2,3\nc.jpg,4\n")
    found = entries(path, ["n"])
    assert [entry.path for entry in found] == [
        f"{tmp_path}/a.jpg",
        f"{path}#line-3",
        f"{tmp_path}/c.jpg",
    ]
    assert found[1].error == "a row with 3 values instead of 2: b.jpg,2,3"
    assert [entry.carried for entry in found] == [(1,), (None,), (4,)]


def test_csv_rows_of_the_wrong_length_that_are_not_utf8(tmp_path):
    path = tmp_path / "m.csv"
    path.write_bytes(b"uri,n\na.jpg,1\n\xffb.jpg,2,3\nc.jpg,x\n")
    found = entries(path, ["n"])
    assert [entry.path for entry in found] == [
        f"{tmp_path}/a.jpg",
        f"{path}#line-3",
        f"{tmp_path}/c.jpg",
    ]
    assert found[1].error == "a row with 3 values instead of 2: \\udcffb.jpg,2,3"


def test_places_in_csv_are_lines_of_the_file(tmp_path):
    path = tmp_path / "m.csv"
    path.write_bytes(
        b'uri,n\r\n"a\r\n""1"".jpg","one\r\ntwo"\r\n\r\n"x\ny",1,2\r\nb.jpg\r\nc.jpg,\r\n'
    )
    found = entries(path, ["n"])
    assert [(entry.path, entry.carried) for entry in found] == [
        (f'{tmp_path}/a\r\n"1".jpg', ("one\r\ntwo",)),
        (f"{path}#line-6", (None,)),
        (f"{path}#line-8", (None,)),
        (f"{tmp_path}/c.jpg", ("",)),
    ]


def test_null_bytes_in_csv_cost_nothing_else(tmp_path):
    path = tmp_path / "m.csv"
    path.write_bytes(b"uri,n\na\0.jpg,1\nb.jpg,2\n")
    assert [entry.carried for entry in entries(path, ["n"])] == [(1,), (2,)]
    assert paths(path)[1] == f"{tmp_path}/b.jpg"


def test_values_in_csv_are_text_unless_all_come_back(tmp_path):
    path = tmp_path / "m.csv"
    path.write_bytes(b"uri,blank,text,bytes,flag\na.jpg,NA,NA,caf\xe9,false\nb.jpg,,x,y,true\n")
    keep = ["blank", "text", "bytes", "flag"]
    assert types_of(path, keep).types == [
        pa.string(),
        pa.string(),
        pa.string(),
        pa.bool_(),
    ]
    notes = []
    assert [entry.carried for entry in entries(path, keep, notes=notes)] == [
        ("NA", "NA", "caf\\xe9", False),
        ("", "x", "y", True),
    ]
    assert [(note.number, note.example) for note in notes] == [(1, "caf\\xe9")]
    assert "--list-encoding latin-1" in notes[0].text


def test_a_line_without_an_end(tmp_path, monkeypatch):
    monkeypatch.setattr(text_input, "LONGEST", 100)
    path = tmp_path / "m.csv"
    path.write_bytes(b"uri,n\n" + b"x" * 200 + b",1\n")
    with pytest.raises(ListError, match="a line of more than 100 characters"):
        entries(path)


@pytest.mark.parametrize("longest", [100, 1 << 24])
def test_a_quote_without_an_end_concerns_its_line(tmp_path, monkeypatch, longest):
    monkeypatch.setattr(csv_lines, "LONGEST", longest)
    path = tmp_path / "m.csv"
    path.write_bytes(b'uri,n\n"a.jpg,1,2\n' + b"b.jpg,1\n" * 20)
    found = entries(path)
    assert [entry.path for entry in found] == [f"{path}#line-2", *[f"{tmp_path}/b.jpg"] * 20]
    assert found[0].error == 'a row with a quote that is not closed: "a.jpg,1,2'


def test_json_lines(tmp_path):
    path = tmp_path / "m.jsonl"
    path.write_text(
        '{"uri": "a.jpg", "tags": ["x"], "n": 1}\n\n{"uri": 7}\nno json\n[1]\n'
        '{"n": 2.5, "uri": "b.jpg"}\n'
    )
    found = entries(path, ["tags", "n"])
    assert [entry.path for entry in found] == [
        f"{tmp_path}/a.jpg",
        f"{path}#2",
        f"{path}#3",
        f"{path}#4",
        f"{tmp_path}/b.jpg",
    ]
    assert [bool(entry.error) for entry in found] == [False, True, True, True, False]
    assert (found[0].carried, found[4].carried) == ((["x"], 1.0), (None, 2.5))


def test_parquet_of_many_types(tmp_path):
    path = tmp_path / "m.parquet"
    moment = datetime.datetime(2020, 1, 2, tzinfo=datetime.timezone.utc)
    table = pa.table(
        {
            "uri": pa.array(["a.jpg", "b.jpg"]),
            "nanos": pa.array([1, None], pa.timestamp("ns", "UTC")),
            "word": pa.array(["x", "x"]).dictionary_encode(),
            "point": pa.array([{"x": 1, "y": [1.5]}, None]),
            "small": pa.array([1, 2], pa.int8()),
            "day": pa.array([moment, None], pa.timestamp("us", "UTC")),
        }
    )
    pq.write_table(table, path)
    keep = table.schema.names[1:]
    schema = types_of(path, keep)
    assert schema.field("word").type == pa.string()
    assert schema.field("nanos").type == pa.timestamp("ns", "UTC")
    assert schema.field("small").type == pa.int8()
    found = entries(path, keep)
    columns = list(zip(*(entry.carried for entry in found), strict=True))
    for field, values in zip(schema, columns, strict=True):
        expected = table.column(field.name).combine_chunks().cast(field.type)
        assert to_arrow(values, field.type).equals(expected), field


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("m.csv", "", "is empty"),
        ("m.csv", "file,n\na.jpg,1\n", "no column 'uri'; it has file, n"),
        ("m.csv", "uri,uri\na.jpg,1\n", "several columns 'uri'"),
        ("m.jsonl", '{"file": "a.jpg"}\n', "no column 'uri'; it has file"),
        ("m.parquet", "PAR1", "can't be read"),
    ],
)
def test_lists_that_can_not_be_read(tmp_path, name, text, message):
    path = tmp_path / name
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(ListError, match=message):
        entries(path)


def test_a_list_that_is_gone(tmp_path):
    with pytest.raises(ListError, match="No such file"):
        entries(tmp_path / "m.csv")


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("m.csv", "uri,n\na.jpg,1\n", "no column 'label'; it has uri, n"),
        ("m.txt", "a.jpg\n", "a plain list of uris"),
        ("m.jsonl", '{"uri": "a", "Label": 1}\n', "did you mean 'Label': --keep Label"),
    ],
)
def test_columns_that_can_not_be_kept(tmp_path, name, text, message):
    path = tmp_path / name
    path.write_text(text)
    with pytest.raises(ListError, match=message):
        types_of(path, ["label"])


def test_a_list_in_a_bucket_has_its_own_folder(bucket):
    from encoder.storage.registry import store_for

    store_for(bucket).write(f"{bucket}/lists/m.csv", b"uri\na.jpg\n/abs.jpg\ngs://b/c.jpg\n")
    found = [e.path for e in read_list(f"{bucket}/lists/m.csv", ListOptions(), pa.schema([]), [])]
    assert found == [f"{bucket}/lists/a.jpg", "/abs.jpg", "gs://b/c.jpg"]


def test_values_are_the_same():
    nan = float("nan")
    assert same((nan, 1, [nan]), (float("nan"), 1, [float("nan")]))
    assert not same((1,), (1.0,))
    assert to_plain(pa.array([1, None], pa.duration("ns"))) == [1, None]


@pytest.mark.parametrize(
    "text",
    [
        b"\xef\xbb\xbfuri,n\r\na.jpg,1\r\n",
        b'\n"uri","n"\n"a.jpg",1',
        b'n,uri,"two\nlines"\n1,a.jpg,x\n',
        b"uri,n\na.jpg,1\n" + b"x" * 2_000_000 + b".jpg,2\n",
    ],
)
def test_odd_csv(tmp_path, text):
    path = tmp_path / "m.csv"
    path.write_bytes(text)
    assert entries(path, ["n"])[0] == (f"{tmp_path}/a.jpg", None, (1,))


def test_names_in_csv_that_are_not_utf8(tmp_path):
    path = tmp_path / "m.csv"
    path.write_bytes(b"uri\n\xff.jpg\n")
    assert paths(path) == [f"{tmp_path}/" + os.fsdecode(b"\xff.jpg")]


def test_text_that_is_too_long_for_a_name(tmp_path):
    path = tmp_path / "list.txt"
    path.write_text("#" * 20_000 + "\nb.jpg\n")
    long, short = entries(path)
    assert long.path == f"{path}#1"
    assert long.error == "the uri has 20,000 characters; expected at most 16,384"
    assert short.path == f"{tmp_path}/b.jpg"


def test_text_that_is_no_name(tmp_path):
    path = tmp_path / "m.jsonl"
    path.write_text('{"uri": "\\ud800.jpg"}\n{"uri": "file://elsewhere/a.jpg"}\n')
    found = entries(path)
    assert [entry.path for entry in found] == [f"{path}#1", f"{path}#2"]
    assert "surrogates not allowed" in found[0].error
    assert "on another machine" in found[1].error


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ('"\\ud800"', "\\ud800"),
        ("123456789012345678901234567890", "123456789012345678901234567890"),
    ],
)
def test_values_that_arrow_has_not_become_text(tmp_path, value, text):
    path = tmp_path / "m.jsonl"
    path.write_text(f'{{"uri": "a.jpg", "n": {value}}}\n')
    assert types_of(path, ["n"]).types == [pa.string()]
    assert entries(path, ["n"])[0].carried == (text,)


def test_types_are_made_such_that_any_reader_takes_them(tmp_path):
    path = tmp_path / "m.parquet"
    table = pa.table(
        {
            "uri": pa.array(["a.jpg"]),
            "box": pa.array([[1.0, 2.0]], pa.list_(pa.float32(), 2)),
            "view": pa.array(["x"], pa.string_view()),
            "deep": pa.array([[{"k": "x"}]], pa.list_(pa.struct({"k": pa.string_view()}))),
        }
    )
    pq.write_table(table, path)
    schema = types_of(path, ["box", "view", "deep"])
    assert schema.types == [
        pa.list_(pa.float32()),
        pa.string(),
        pa.list_(pa.struct({"k": pa.string()})),
    ]
    assert entries(path, ["box", "view", "deep"])[0].carried == ([1.0, 2.0], "x", [{"k": "x"}])


def test_relative_uris_in_a_bucket_are_normalized(bucket):
    from encoder.storage.registry import store_for

    store_for(bucket).write(f"{bucket}/lists/m.txt", b"./a.jpg\n../b.jpg\ncaf\xe9.jpg\n")
    found = list(read_list(f"{bucket}/lists/m.txt", ListOptions(), pa.schema([]), []))
    assert [entry.path for entry in found] == [
        f"{bucket}/lists/a.jpg",
        f"{bucket}/b.jpg",
        f"{bucket}/lists/m.txt#3",
    ]
