import pyarrow as pa

from pipeline.inputs.archives.base import Packing
from pipeline.inputs.resolve import ListSettings, expand_input
from pipeline.inputs.source import parse_input
from pipeline.options import ListOptions
from pipeline.records import Image, ListRows, ListState, Note


def expand(tmp_path, pattern):
    settings = ListSettings(ListOptions(), pa.schema([]), str(tmp_path / "out"), "id", False)
    return list(expand_input(parse_input(f"{tmp_path}/{pattern}"), Packing(), settings))


def test_rows_are_numbered_over_all_lists_of_an_input(tmp_path):
    for name in ("1.png", "2.png"):
        (tmp_path / name).write_bytes(b"x")
    (tmp_path / "a.csv").write_text("uri,c\n1.png,x\n1.png,y\nonly one value\n,z\n")
    (tmp_path / "b.csv").write_text("uri;c\n2.png;x\nmissing.png;\n")
    found = expand(tmp_path, "*.csv")
    images = [each for each in found if isinstance(each, Image)]
    assert [each.row for each in images] == [1, 2, 3, 4, 5, 6]
    assert [bool(each.error) for each in images] == [False, False, True, True, False, True]
    assert [each for each in found if isinstance(each, ListRows)] == [
        ListRows(f"{tmp_path}/a.csv", 4),
        ListRows(f"{tmp_path}/b.csv", 2),
    ]
    assert [each for each in found if isinstance(each, Note)] == [
        Note(f"{tmp_path}/b.csv", "{row} read with ';' between values, as UTF-8", 2)
    ]
    assert not any(isinstance(each, ListState) for each in found)
    assert {each.row for each in expand(tmp_path, "*.png")} == {0}
