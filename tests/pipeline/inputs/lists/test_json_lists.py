"""Lists in JSON: lines, arrays, objects over several lines, and types."""

import io
import json

import pyarrow as pa
import pytest

from pipeline.inputs.lists import json_values
from pipeline.inputs.lists.base import ListError
from pipeline.inputs.lists.registry import carried_types, read_list
from pipeline.inputs.lists.text_input import opened_text
from pipeline.options import ListOptions

ROWS = [{"uri": f"{n}.png", "n": n, "t": ["x", {"y": "]}"}]} for n in range(50)]


def read(path, text, keep=()):
    path.write_text(text)
    schema = carried_types(str(path), ListOptions(), keep) if keep else pa.schema([])
    found = read_list(str(path), ListOptions(), schema, [])
    return [
        each.error or (each.path.removeprefix(f"{path.parent}/"), each.carried) for each in found
    ]


@pytest.mark.parametrize("chunk", [8, 50, 1 << 16])
@pytest.mark.parametrize(
    "text",
    [
        json.dumps(ROWS),
        json.dumps(ROWS, indent=2),
        " \n[\n" + ",\n".join(map(json.dumps, ROWS)) + "\n]\n",
        "\n".join(map(json.dumps, ROWS)),
        "\n".join(json.dumps(row, indent=1) for row in ROWS),
    ],
    ids=["array", "pretty array", "array of lines", "lines", "pretty objects"],
)
def test_layouts(tmp_path, monkeypatch, text, chunk):
    monkeypatch.setattr(json_values, "_CHUNK", chunk)
    expected = [(row["uri"], (row["n"],)) for row in ROWS]
    assert read(tmp_path / "m.json", text, ["n"]) == expected


def test_rows_that_are_no_objects(tmp_path):
    assert (
        read(tmp_path / "m.json", '[{"uri": "a"}, 12, "x", null]')[1:]
        == ["a row that is no JSON object"] * 3
    )
    found = read(tmp_path / "m.jsonl", '{"uri": "a"\n{"uri": "b"}\n[1]\n{"uri": 7}\n')
    assert found[0].startswith("a row that is no JSON: ")
    assert found[1:] == [("b", None), "a row that is no JSON object", "the uri is no text: 7"]
    deep = '{"uri": "a", "n": ' + "[" * 500 + "]" * 500 + '}\n{"uri": "b", "n": 1}\n'
    assert read(tmp_path / "m.jsonl", deep, ["n"])[0].startswith("a row with more than 100 levels")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('[{"uri": "a"}', "no whole array: expected ',' or ']' before row 2, found the end"),
        ('[{"uri": "a"} {"uri": "b"}]', "expected ',' or ']' before row 2, found '{'"),
        ('[{"uri": "a"}] x', "goes on with 'x' after its array"),
        ('[{"uri": "a"}, {"uri": ]', "no list in JSON: the object in row 2"),
        ("[{}]", "no column 'uri'; it has none"),
        ('[{"URI": "a"}]', "did you mean 'URI': --uri-column URI"),
    ],
)
def test_arrays_that_are_damaged(tmp_path, text, message):
    with pytest.raises(ListError, match=message.replace("[", r"\[")):
        read(tmp_path / "m.json", text)


@pytest.mark.parametrize("indent", [None, 1])
def test_an_object_that_holds_the_list(tmp_path, indent):
    coco = {"info": {}, "images": [{"id": 1, "file_name": "a.png"}], "annotations": []}
    with pytest.raises(ListError, match="one JSON object with the keys info, images, annotations"):
        read(tmp_path / "m.json", json.dumps(coco, indent=indent))


@pytest.mark.parametrize("text", ['{"uri": "' + "x" * 300 + '"}', '[{"uri": "' + "x" * 300])
def test_an_object_without_an_end(tmp_path, monkeypatch, text):
    for module in ("json_values", "text_input"):
        monkeypatch.setattr(f"pipeline.inputs.lists.{module}.LONGEST", 100)
    monkeypatch.setattr(json_values, "_CHUNK", 16)
    with pytest.raises(ListError, match=r"Expected an object in each line, or an array of objects"):
        read(tmp_path / "m.json", text)


@pytest.mark.parametrize(
    ("values", "kind", "expected"),
    [
        ("1 2.5", pa.float64(), [1.0, 2.5]),
        ("0 18446744073709551615", pa.uint64(), [0, 2**64 - 1]),
        ("-1 9223372036854775808", pa.string(), ["-1", "9223372036854775808"]),
        ("9007199254740993 2.5", pa.string(), ["9007199254740993", "2.5"]),
        ('1 "a" true null [1,"x"]', pa.string(), ["1", "a", "true", None, '[1, "x"]']),
        ("1 true", pa.string(), ["1", "true"]),
        ("1.5 1e400", pa.string(), ["1.5", "1e400"]),
        ("NaN", pa.float64(), ["nan"]),
        ('"\\ud83d" "\\ud83d\\ude00"', pa.string(), ["\\ud83d", "\U0001f600"]),
        ("{}", pa.string(), ["{}"]),
        ("[1] [2.5]", pa.list_(pa.float64()), [[1.0], [2.5]]),
    ],
)
def test_types(tmp_path, values, kind, expected):
    path = tmp_path / "m.jsonl"
    lines = [f'{{"uri": "a.png", "v": {value}}}\n' for value in values.split(" ")]
    found = read(path, "".join(lines), ["v"])
    assert carried_types(str(path), ListOptions(), ["v"]).types == [kind]
    assert [str(carried[0]) for _, carried in found] == list(map(str, expected))


def test_the_last_of_equal_keys_counts(tmp_path):
    assert read(tmp_path / "m.jsonl", '{"uri": "a", "n": 1, "n": 2}\n', ["n"]) == [("a", (2,))]


@pytest.mark.parametrize(
    ("value", "kind"), [("5", pa.bool_()), ("true", pa.int64()), ('"007"', pa.int64())]
)
def test_values_that_do_not_fit(tmp_path, value, kind):
    path = tmp_path / "m.jsonl"
    path.write_text(f'{{"uri": "a.png"}}\n\n{{"uri": "b.png", "v": {value}}}\n')
    text = value.strip('"')
    message = rf"m.jsonl, line 3 \('b.png'\): the column 'v' is carried as {kind}, and '{text}'"
    with pytest.raises(ListError, match=message):
        list(read_list(str(path), ListOptions(), pa.schema([("v", kind)]), []))


def test_small_objects_behind_a_large_one_are_not_copied():
    """After a large object much is read at a time, and cutting it for each value took minutes."""
    large = '{"n": "' + "x" * (1 << 18) + '"}'
    with opened_text(io.BytesIO(f"[{large}{', {}' * 20_000}]".encode()), None, "") as text:
        rows = json_values.objects_of(text, "m.json")
        next(rows)
        buffer = rows.gi_yieldfrom.gi_frame.f_locals["buffer"]
        held = {id(buffer._held): buffer._held for _ in range(19_000) if next(rows)}
    assert len(held) == 1


DEEP = "[" * 200_000


@pytest.mark.parametrize(
    "text",
    [
        f'{{"uri": "a", "n": {DEEP}}}\n{{"uri": "b"}}\n',
        f'{{"uri": "a", "n": {DEEP}{"]" * 200_000}}}\n{{"uri": "b"}}\n',
        '{"a":' * 200_000 + '\n{"uri": "b"}\n',
        f'{DEEP}\n{{"uri": "b"}}\n',
    ],
    ids=["open", "closed", "objects", "no object"],
)
def test_brackets_without_end_in_a_line_concern_that_row(tmp_path, text):
    found = read(tmp_path / "m.jsonl", text)
    assert found == ["a row with more than 100 levels of nested values", ("b", None)]


@pytest.mark.parametrize("value", [DEEP, '{"a":' * 200_000, DEEP + "]" * 200_000])
def test_brackets_without_end_in_an_array_stop_the_run(tmp_path, value):
    text = f'[{{"uri": "a"}},\n{{"uri": "b", "n": {value}}}]'
    with pytest.raises(ListError, match=r"m\.json has a row with more than 100 .*: row 2"):
        read(tmp_path / "m.json", text)


def test_values_in_errors_are_cut(tmp_path):
    text = json.dumps({"uri": ["x" * 1_000_000]}) + '\n{"uri": "b"}\n'
    assert len(read(tmp_path / "m.jsonl", text)[0]) < 300
