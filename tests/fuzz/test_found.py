"""Content that fuzzing has found: each stopped a parser, or took it too long."""

import io
import json
import struct
import tarfile
import zipfile

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.fuzz.documents import older
from tests.fuzz.targets import TARGETS

DEEP = b"[" * 100_000


def zipped(*names):
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for name in names:
            archive.writestr(zipfile.ZipInfo(name), b"x")
    return packed.getvalue()


def zip_whose_files_begin_before_it():
    data = bytearray(zipped("a.png", "b.png"))
    end = data.rfind(b"PK\5\6")
    struct.pack_into("<I", data, end + 16, 1_000_000)
    return bytes(data)


def tar_with_a_file_of_any_size():
    header = bytearray(tarfile.TarInfo("a.png").tobuf(tarfile.USTAR_FORMAT))
    header[124:136] = b"\x80" + b"\x7f" * 11
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    return bytes(header) + bytes(1024)


def spec_with_half_a_character():
    values = json.loads(older("bundle/encoder.json")[0])
    return json.dumps({**values, "slices": ["\ud800"]}).encode()


def parquet_with_a_struct_without_fields():
    packed = io.BytesIO()
    pq.write_table(pa.table({"uri": ["a.jpg"], "label": ["x"], "n": [{"a": 1}]}), packed)
    # In the schema: a field of the name "n", of 1 byte, and its number of fields, 1 as a varint.
    return packed.getvalue().replace(b"\x18\x01n\x15\x02", b"\x18\x01n\x15\x00")


FOUND = [
    ("spec", DEEP),
    ("manifest", DEEP),
    ("record", DEEP),
    ("keras file", DEEP),
    ("h5 file", DEEP[:20_000]),
    ("json", DEEP),
    ("spec", spec_with_half_a_character()),
    ("zip", zipped("")),
    ("zip", zip_whose_files_begin_before_it()),
    ("tar", tar_with_a_file_of_any_size()),
    ("parquet list", parquet_with_a_struct_without_fields()),
    ("uris", b"file:/H\x99e\x96\x1a0b"),
    ("uris", b"~a\0b"),
    ("column types", b"a=date\nb\xe6M[=bool"),
    ("patterns", b"{" * 5000),
    ("patterns", b"x" + b"{1..9}a1/x*.t" * 6),
    ("csv", b'uri,label,n\n"a","' + b'x","\n' * 3000),
    ("csv", b"uri,label,n\n" + b'x,y,"\n' * 3000),
    ("text list", b"#" * 100_000),
    ("json", b'[{"uri": "' + b"x" * (1 << 18) + b'"}' + b",{}" * 10_000 + b"]"),
]


@pytest.mark.parametrize(
    ("name", "data"), FOUND, ids=[f"{name}-{len(data)}" for name, data in FOUND]
)
def test_content_that_was_found(name, data):
    TARGETS[name].check(data)
