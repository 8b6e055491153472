"""Dialects of CSV: a line is a row or an error, and none disappears."""

import hypothesis
import pytest
from hypothesis import strategies as st

from pipeline.inputs.lists import csv_lines
from pipeline.inputs.lists.base import ListError
from pipeline.inputs.lists.csv_lines import CsvLines


def read(text, path="m.csv", wanted=("uri",), delimiter=None, quoting="auto"):
    return CsvLines(iter(text.splitlines(keepends=True)), path, wanted, delimiter, quoting)


def values(text, **options):
    """The values of each row, or its error."""
    return [line.error or line.values for line in read("uri,c\n" + text, **options)]


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("a,b", ["a", "b"]),
        ('"a","b"', ["a", "b"]),
        ('"a, ""b""",', ['a, "b"', ""]),
        ('a,""', ["a", ""]),
        ('a,5" screen', ["a", '5" screen']),
        ('a,"Love" by someone', ["a", '"Love" by someone']),
        ('a,"open', ["a", '"open']),
        ('a,"say \\"hi\\""', ["a", '"say \\"hi\\""']),
        ('a,"x, y" z', 'a row with misplaced quotes: a,"x, y" z'),
        ('a,"x, y', 'a row with a quote that is not closed: a,"x, y'),
        ("a,b,c", "a row with 3 values instead of 2: a,b,c"),
        ('"a","b",', 'a row with 3 values instead of 2: "a","b",'),
        ("a", "a row with 1 values instead of 2: a"),
        (",", ["", ""]),
    ],
)
def test_lines(line, expected):
    assert values(f"{line}\n1,2\n") == [expected, ["1", "2"]]


def test_values_over_several_lines():
    assert values('"a\r\nb","c ""d""\n\ne"\nf,g') == [["a\r\nb", 'c "d"\n\ne'], ["f", "g"]]


def test_a_quote_that_lines_behind_it_would_close():
    """A stray quote of one row and that of a later row are not the ends of one value."""
    text = 'uri\tc\n1\t"so it begins\n2\tmiddle\n3\tthe end"\n4\t"Love" by\n5\tx\n'
    table = read(text, "m.tsv")
    rows = [line.values for line in table]
    assert rows == [
        ["1", '"so it begins'],
        ["2", "middle"],
        ["3", 'the end"'],
        ["4", '"Love" by'],
        ["5", "x"],
    ]
    (note,) = table.notes()
    assert (note.number, note.example) == (2, "line 2")
    assert "taken literally" in note.text
    # With commas, that is how values with line ends look; the note says what to do if they are not.
    table = read(text.replace("\t", ","))
    assert [line.values[0] for line in table] == ["1", "4", "5"]
    assert any("--list-quoting none makes each line a row" in note.text for note in table.notes())
    table = read(text.replace("\t", ","), quoting="none")
    assert [line.values for line in table] == rows
    table = read(text, "m.tsv", quoting="standard")
    found = [line.error or line.values for line in table]
    assert found[0] == ["1", "so it begins\n2\tmiddle\n3\tthe end"]
    assert found[1] == 'a row with misplaced quotes: 4\t"Love" by'


def test_an_open_quote_never_takes_rows_with_it(monkeypatch):
    rows = "".join(f"{n},x\n" for n in range(50))
    expected = [[str(n), "x"] for n in range(50)]
    open_quote = 'a row with a quote that is not closed: "a,b,c'
    assert values('"a,b,c\n' + rows) == [open_quote, *expected]
    assert values('"a,b,c\n' + rows + '"y",z\n') == [
        'a row with misplaced quotes: "a,b,c',
        *expected,
        ["y", "z"],
    ]
    monkeypatch.setattr(csv_lines, "LONGEST", 40)
    assert values('"a,b,c\n' + rows) == [open_quote, *expected]


@pytest.mark.parametrize(
    ("path", "text", "delimiter"),
    [
        ("m.csv", "uri,c\n", ","),
        ("m.csv", "uri;c\n", ";"),
        ("m.csv", "c\turi\n", "\t"),
        ("m.csv", '"c"|"uri"\n', "|"),
        ("m.tsv", "uri,c\n", ","),
        ("m.tsv.gz", "uri\tc\n", "\t"),
        ("m.csv", "sep=;\r\nuri;c\r\n", ";"),
        ("m.csv", "sep=#\nuri#c\n", "#"),
    ],
)
def test_delimiters(path, text, delimiter):
    table = read(text + f"a{delimiter}b\n", path, ("uri", "c"))
    assert table.delimiter == delimiter
    assert sorted(table.names) == ["c", "uri"]
    assert [line.values for line in table] == [["a", "b"]]
    usual = "\t" if ".tsv" in path else ","
    assert table.unusual_delimiter == (None if delimiter == usual else delimiter)


def test_a_delimiter_of_ones_own():
    table = read("uri:c\na:b;c\n", delimiter=":")
    assert [line.values for line in table] == [["a", "b;c"]]


def test_lines_are_numbered_as_in_the_file():
    table = read('\nsep,uri\n\n"a\nb",c\n\nd\n')
    assert [(line.number, bool(line.error)) for line in table] == [(4, False), (7, True)]


@pytest.mark.parametrize("text", ["", "\n\n", "sep=;\n"])
def test_no_rows_at_all(text):
    with pytest.raises(ListError, match="is empty"):
        read(text)


@pytest.mark.parametrize("quoting", ["auto", "standard"])
@pytest.mark.parametrize(
    ("line", "end"),
    [
        ('x","\n', ""),  # each line ends in an open quote, also behind that of the line before
        ('x","\n', 'y"\n'),
        ('x","\n', "y"),
        ('x,"\n', ""),
        ('x,"a""\n', "y,z\n"),
        ('x,y,"\n"",\n', '"\n'),
    ],
)
def test_many_lines_with_open_quotes_are_read_ahead_once(monkeypatch, line, end, quoting):
    """Reading ahead from each of them took time that grew with the square of the list."""
    fed = []
    feed = csv_lines._Record.feed
    monkeypatch.setattr(
        csv_lines._Record, "feed", lambda self, text: fed.append(text) or feed(self, text)
    )
    for _ in read("uri,c\n" + line * 2000 + end, quoting=quoting):
        pass
    assert len(fed) < 3 * 2 * 2000


@hypothesis.settings(max_examples=300, deadline=None, database=None, derandomize=True)
@hypothesis.given(
    st.lists(st.sampled_from(['"', '""', ",", "\t", "a", "\n", 'x","\n', 'a,"b\n']), max_size=30),
    st.sampled_from(["m.csv", "m.tsv"]),
    st.sampled_from(["auto", "standard"]),
)
def test_what_reading_ahead_has_shown_changes_no_row(pieces, path, quoting):
    def rows(text):
        table = read(text, path, quoting=quoting)
        found = [(line.number, line.values, line.error is None) for line in table]
        return found, sorted(table.notes())

    text = ("uri\tc\n" if path == "m.tsv" else "uri,c\n") + "".join(pieces)
    found = rows(text)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(csv_lines._InVain, "foreseen", lambda *arguments: None)
        assert rows(text) == found
