"""Whole runs over lists: types of carried columns over days, dialects, images as text."""

import base64
import datetime
import gzip

import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest

from tests.conftest import write_image
from tests.support.packed import picture


@pytest.fixture
def folder(tmp_path):
    for n in range(6):
        write_image(tmp_path / f"{n}.png", n)
    return tmp_path


def carried(dataset, *names):
    """The values of some columns by the image's name; and the columns' types."""
    schema = ds.dataset(dataset.folder / "embeddings").schema
    rows = dataset.rows()
    values = {name: tuple(row[column] for column in names) for name, row in sorted(rows.items())}
    return values, [str(schema.field(name).type) for name in names]


def test_committed_values_stay_as_they_were(dataset, folder):
    """Parquet files of other days have other types; nothing is rounded, wrapped or moved."""
    far = datetime.datetime(9999, 12, 31)
    first = {
        "uri": ["0.png", "1.png"],
        "id": pa.array([2**53 + 1, 2**53], pa.int64()),
        "phash": pa.array([2**64 - 1, 2**63], pa.uint64()),
        "until": pa.array([far, far], pa.timestamp("us")),
    }
    day = datetime.datetime(2030, 1, 1)
    second = {
        "uri": ["2.png", "3.png"],
        "id": pa.array([5.0, None]),
        "phash": pa.array([1, 2], pa.int64()),
        "until": pa.array([day, day], pa.timestamp("ns")),
    }
    names = ("id", "phash", "until")
    options = ["--keep", ",".join(names)]
    pq.write_table(pa.table(first), folder / "1.parquet")
    pq.write_table(pa.table(second), folder / "2.parquet")
    dataset.run(folder / "1.parquet", options=options)
    dataset.run(folder / "2.parquet", options=options)
    assert carried(dataset, *names) == (
        {
            "0.png": (2**53 + 1, 2**64 - 1, far),
            "1.png": (2**53, 2**63, far),
            "2.png": (5, 1, day),
            "3.png": (None, 2, day),
        },
        ["int64", "uint64", "timestamp[us]"],
    )
    before = carried(dataset, *names)
    second["id"] = pa.array([5.0, 5.5])
    pq.write_table(pa.table(second), folder / "2.parquet")
    for command in ("run", "run", "plan"):
        output = dataset.job(folder / "2.parquet", options=options, command=command)
        assert output.code == 2
        assert "2.parquet, row 2 ('3.png'): the column 'id' is carried as int64" in output.err
        assert "'5.5' would not come back" in output.err
        assert "--column-type id=string" in output.err
    assert carried(dataset, *names) == before


def test_texts_that_look_like_numbers_stay_text(dataset, folder):
    columns = {
        "zip": ("00501", "02134"),
        "photo": ("12345678901234567890", "12345678901234567891"),
        "hash": ("12e45678", "98e76543"),
        "ver": ("1.10", "1.1"),
        "phone": ("+4930123", "+4930124"),
        "hex": ("0x1A", "0x1B"),
        "mixed": ("1", "0.5"),
        "day": ("2024-01-02", "2024-01-02"),
        "flag": ("True", "False"),
        "blank": ("", ""),
    }
    lines = ["uri," + ",".join(columns)]
    lines += [",".join([f"{n}.png", *(each[n] for each in columns.values())]) for n in range(2)]
    (folder / "m.csv").write_text("\n".join(lines))
    dataset.run(folder / "m.csv", options=["--keep", ",".join(columns)])
    values, types = carried(dataset, *columns)
    assert set(types) == {"string"}
    assert list(values.values()) == list(zip(*columns.values(), strict=True))


@pytest.mark.parametrize(
    "days", [("A12", "0123"), ("", "7"), ("2024-01-02", "2024-01-02 10:30:00"), ("x", "1.50")]
)
def test_a_column_of_text_takes_what_comes(dataset, folder, days):
    for n, value in enumerate(days):
        (folder / f"{n}.csv").write_text(f"uri,v\n{n}.png,{value}\n")
        dataset.run(folder / f"{n}.csv", options=["--keep", "v"])
    expected = {f"{n}.png": (value,) for n, value in enumerate(days)}
    assert carried(dataset, "v") == (expected, ["string"])


def test_a_column_of_numbers_refuses_text_and_says_how_to_go_on(dataset, folder):
    path = folder / "m.csv"
    path.write_text("uri,v\n0.png,7\n1.png,\n")
    dataset.run(path, options=["--keep", "v"])
    path.write_text("uri,v\n0.png,7\n1.png,\n2.png,5.0\n")
    for _ in range(2):
        err = dataset.run(path, options=["--keep", "v"], code=2)
        assert "m.csv, line 4 ('2.png'): the column 'v' is carried as int64, and '5.0'" in err
    assert carried(dataset, "v") == ({"0.png": (7,), "1.png": (None,)}, ["int64"])
    dataset.run(path, options=["--keep", "v", "--column-type", "v=int64"])
    assert carried(dataset, "v")[0] == {"0.png": (7,), "1.png": (None,), "2.png": (5,)}
    (folder / "n.csv").write_text("uri,v\n3.png,word\n")
    options = ["--keep", "v", "--column-type", "v=int64"]
    assert "'word' would not come back" in dataset.run(folder / "n.csv", options=options, code=2)


def test_a_new_column_gets_the_type_that_is_asked_for(dataset, folder):
    (folder / "m.csv").write_text("uri,v,w\n0.png,0123,1\n1.png,, 2.5\n")
    options = ["--keep", "v,w", "--column-type", "v=int64", "--column-type", "w=float64"]
    dataset.run(folder / "m.csv", options=options)
    assert carried(dataset, "v", "w") == (
        {"0.png": (123, 1.0), "1.png": (None, 2.5)},
        ["int64", "double"],
    )


@pytest.mark.parametrize(
    ("files", "kind", "expected"),
    [
        ({"a.csv": "0.png,A12", "b.csv": "1.png,0123"}, "string", ["A12", "0123"]),
        ({"a.csv": "0.png,1", "b.csv": "1.png,0.5"}, "string", ["1", "0.5"]),
        ({"a.csv": "0.png,", "b.csv": "1.png,0.5"}, "double", [None, 0.5]),
        ({"a.csv": "0.png,5", "b.jsonl": '{"uri": "1.png", "v": 0.5}'}, "double", [5.0, 0.5]),
        ({"a.csv": "0.png,x", "b.jsonl": '{"uri": "1.png", "v": [1]}'}, "string", ["x", "[1]"]),
    ],
)
def test_inputs_of_one_run_with_different_types(dataset, folder, files, kind, expected):
    for name, text in files.items():
        head = "uri,v\n" if name.endswith("csv") else ""
        (folder / name).write_text(f"{head}{text}\n")
    dataset.run(*(folder / name for name in files), options=["--keep", "v"])
    values, types = carried(dataset, "v")
    assert (types, [value for (value,) in values.values()]) == ([kind], expected)


def test_numbers_of_one_run_that_no_type_takes(dataset, folder):
    (folder / "a.jsonl").write_text(f'{{"uri": "0.png", "v": {2**53 + 1}}}\n')
    (folder / "b.jsonl").write_text('{"uri": "1.png", "v": 0.5}\n')
    inputs = (folder / "a.jsonl", folder / "b.jsonl")
    err = dataset.run(*inputs, options=["--keep", "v"], code=2)
    assert "a.jsonl, line 1 ('0.png'): the column 'v' is carried as double" in err
    dataset.run(*inputs, options=["--keep", "v", "--column-type", "v=string"])
    assert carried(dataset, "v")[0] == {"0.png": ("9007199254740993",), "1.png": ("0.5",)}


def test_another_encoder_of_the_dataset_has_the_same_types(dataset, folder, tmp_path_factory):
    import encoder
    from tests.conftest import small_network

    other = tmp_path_factory.mktemp("other")
    small_network(seed=2).save(other / "m.keras")
    encoder.extract(other / "m.keras", other / "bundle", preprocess="unit")
    (folder / "m.csv").write_text("uri,v\n0.png,A12\n")
    dataset.run(folder / "m.csv", options=["--keep", "v"])
    (folder / "m.csv").write_text("uri,v\n0.png,12\n")
    dataset.run(folder / "m.csv", options=["--keep", "v"], bundle=other / "bundle")
    assert dataset.rows(bundle=other / "bundle")["0.png"]["v"] == "12"


def test_columns_of_images_that_do_not_fit(dataset, tmp_path):
    for name, label in (("a", [1, 2]), ("b", ["3", "x"])):
        table = {"image": [picture(1), picture(2)], "label": label}
        pq.write_table(pa.table(table), tmp_path / f"{name}.parquet")
    dataset.run(tmp_path / "a.parquet", options=["--keep", "label"])
    err = dataset.run(tmp_path / "b.parquet", options=["--keep", "label"], code=2)
    assert "b.parquet, row 1: the column 'label' is carried as int64, and 'x'" in err


def test_quotes_in_captions(dataset, folder):
    captions = ["plain", '"so it begins', "middle", 'the end"', '"Love" by someone', 'a 5" screen']
    rows = "".join(f"{n}.png\t{caption}\n" for n, caption in enumerate(captions))
    (folder / "c.tsv").write_text(f"uri\tcaption\n{rows}")
    output = dataset.job(folder / "c.tsv", options=["--keep", "caption"])
    assert "2 lines whose quotes do not enclose values" in output.out
    expected = {f"{n}.png": (caption,) for n, caption in enumerate(captions)}
    assert carried(dataset, "caption")[0] == expected


def test_what_a_list_is_read_as_is_said(dataset, folder):
    (folder / "m.csv").write_text("uri;v\n0.png;caf\u00e9\n1.png;x\n", encoding="utf-16")
    output = dataset.job(folder / "m.csv", options=["--keep", "v"])
    assert f"{folder}/m.csv: 2 rows read with ';' between values, as UTF-16" in output.out
    assert carried(dataset, "v")[0]["0.png"] == ("caf\u00e9",)


def test_a_compressed_list(dataset, folder):
    (folder / "m.csv.gz").write_bytes(gzip.compress(b"uri\n0.png\n1.png\n"))
    (folder / "m.txt.gz").write_bytes(gzip.compress(b"2.png\n"))
    assert dataset.run(f"{folder}/*.csv.gz", folder / "m.txt.gz")["embedded"] == 3


def test_images_as_text(dataset, folder):
    texts = [base64.b64encode(picture(n)).decode() for n in range(2)]
    table = pa.table({"uri": ["x", "y", "z"], "img": [*texts, "z.png"]})
    pq.write_table(table, folder / "m.parquet")
    counts = dataset.run(folder / "m.parquet", options=["--image-column", "img"])
    assert counts == {"listed": 3, "new": 3, "embedded": 2, "failed": 1}
    (failure,) = dataset.rows("failures").values()
    assert (failure["stage"], failure["error"]) == ("decode", "ArchiveError")
    assert "no base64" in failure["message"]
    err = dataset.run(folder / "m.parquet", options=["--image-column", "other"], code=2)
    assert "no column of bytes 'other'" in err
    assert "img (string)" in err


@pytest.mark.parametrize("name", ["Width", "URI", "Run", "Truncated", "LABEL"])
def test_names_that_differ_by_case_alone(dataset, folder, name):
    (folder / "a.csv").write_text("uri,label\n0.png,x\n")
    dataset.run(folder / "a.csv", options=["--keep", "label"])
    (folder / "m.csv").write_text(f"uri,{name}\n0.png,1\n")
    err = dataset.run(folder / "m.csv", options=["--keep", name], code=2)
    assert f"--keep {name}: the dataset has a column {name.lower()!r}" in err


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--column-type", "v"], "expected NAME=TYPE"),
        (["--column-type", "v=number"], "'number' is no type"),
        (["--column-type", "x=int64"], "--keep does not name the column 'x'"),
        (["--list-encoding", "klingon"], "--list-encoding is 'klingon'"),
        (["--list-encoding", "rot13"], "--list-encoding is 'rot13'"),
        (["--list-delimiter", "::"], "--list-delimiter is '::'; expected one character"),
        (["--list-quoting", "some"], "--list-quoting"),
    ],
)
def test_options_that_are_wrong(dataset, folder, capsys, options, message):
    (folder / "m.csv").write_text("uri,v\n0.png,1\n")
    try:
        output = dataset.job(folder / "m.csv", options=["--keep", "v", *options])
        code, err = output.code, output.err
    except SystemExit as stop:
        code, err = stop.code, capsys.readouterr().err
    assert code == 2
    assert message in err
