"""Encodings and compression of lists, with what is told about them."""

import bz2
import gzip
import lzma

import pyarrow as pa
import pytest

from pipeline.inputs.lists.base import ListError
from pipeline.inputs.lists.registry import read_list
from pipeline.options import ListOptions

TEXT = "uri,c\na.png,caf\u00e9\n"


def read(path, data, encoding=None):
    """The names and carried values of a list, and the notes."""
    path.write_bytes(data)
    schema = pa.schema([]) if path.name.startswith("m.txt") else pa.schema([("c", pa.string())])
    notes = []
    found = read_list(str(path), ListOptions(encoding=encoding), schema, notes)
    return [
        (each.path.removeprefix(f"{path.parent}/"), *(each.carried or ())) for each in found
    ], notes


@pytest.mark.parametrize(
    ("codec", "note"),
    [
        ("utf-8", None),
        ("utf-8-sig", None),
        ("utf-16", "UTF-16"),
        ("utf-16-le", "UTF-16-LE"),
        ("utf-16-be", "UTF-16-BE"),
        ("utf-32", "UTF-32"),
        ("utf-32-le", "UTF-32-LE"),
        ("utf-32-be", "UTF-32-BE"),
    ],
)
def test_encodings_that_are_recognised(tmp_path, codec, note):
    for name, text, expected in (
        ("m.csv", TEXT, [("a.png", "caf\u00e9")]),
        ("m.jsonl", '{"uri": "a.png", "c": "caf\u00e9"}\r\n', [("a.png", "caf\u00e9")]),
        ("m.txt", "a.png\r\ncaf\u00e9.png\r\n", [("a.png",), ("caf\u00e9.png",)]),
    ):
        found, notes = read(tmp_path / name, text.encode(codec))
        assert found == expected
        texts = [(each.text, each.number) for each in notes]
        assert texts == ([(f"{{row}} read as {note}", len(expected))] if note else [])


@pytest.mark.parametrize("name", ["m.csv", "m.jsonl"])
def test_bytes_of_another_encoding(tmp_path, name):
    text = TEXT if name == "m.csv" else '{"uri": "a.png", "c": "caf\u00e9"}\n'
    data = text.encode("latin-1")
    found, notes = read(tmp_path / name, data)
    assert found == [("a.png", "caf\\xe9")]
    assert [(each.number, each.example) for each in notes] == [(1, "caf\\xe9")]
    assert read(tmp_path / name, data, "latin-1")[0] == [("a.png", "caf\u00e9")]
    assert read(tmp_path / name, data, "cp1252")[0] == [("a.png", "caf\u00e9")]
    # A mark decides also against the option.
    assert read(tmp_path / name, text.encode("utf-8-sig"), "latin-1")[0] == [("a.png", "caf\u00e9")]


def test_other_values_stay_as_they_are(tmp_path):
    data = b"uri,c\na.png,caf\xc3\xa9\nb.png,caf\xe9 \xf0\x9f\x98\x80\n"
    found, _ = read(tmp_path / "m.csv", data)
    assert found == [("a.png", "caf\u00e9"), ("b.png", "caf\\xe9 \U0001f600")]


@pytest.mark.parametrize("name", ["m.csv", "m.txt"])
def test_lines_may_end_with_carriage_returns_alone(tmp_path, name):
    text = "a.png\rb.png\r" if name == "m.txt" else "uri,c\ra.png,1\rb.png,2\r"
    found, _ = read(tmp_path / name, text.encode())
    assert [each[0] for each in found] == ["a.png", "b.png"]


@pytest.mark.parametrize(
    ("end", "compress"), [(".gz", gzip.compress), (".bz2", bz2.compress), (".xz", lzma.compress)]
)
def test_compressed_lists(tmp_path, end, compress):
    assert read(tmp_path / f"m.csv{end}", compress(TEXT.encode()))[0] == [("a.png", "caf\u00e9")]
    assert read(tmp_path / f"m.TXT{end}".lower(), compress(b"a.png\n"))[0] == [("a.png",)]
    line = b'{"uri": "a.png", "c": "1"}\n'
    assert read(tmp_path / f"m.json{end}", compress(line))[0] == [("a.png", "1")]
    data = compress(b"uri,c\n" + b"a.png,1\n" * 1000)
    with pytest.raises(ListError, match=r"m\.csv.* can't be read"):
        read(tmp_path / f"m.csv{end}", data[:-12])
    with pytest.raises(ListError, match=f"is no {end} file, though its name says so, but text"):
        read(tmp_path / f"m.csv{end}", TEXT.encode())


def test_a_compressed_list_with_another_name(tmp_path):
    assert read(tmp_path / "m.csv", gzip.compress(TEXT.encode()))[0] == [("a.png", "caf\u00e9")]


def test_half_a_character(tmp_path):
    with pytest.raises(ListError, match=r"can't be read as text.*--list-encoding"):
        read(tmp_path / "m.csv", TEXT.encode("utf-16")[:-1])
