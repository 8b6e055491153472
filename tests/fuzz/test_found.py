"""Content that fuzzing has found: each stopped a parser, or took it too long."""

import base64
import io
import json
import struct
import tarfile
import zipfile
import zlib

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


# A Parquet file whose column "n" is a struct without fields, which Arrow does not write.
STRUCT_WITHOUT_FIELDS = (
    "c-qZWF>ljA6h5CFV@0h<OV6^U3|6F=BBgO#DX2o}a4s<|3Q~(y(Xu(t;hMURn>d(}k$=F#%7PGLV(P}m2pcm"
    "he}i{+Tu9mhBnF<I{e0hh_kHi)N#3Oo*N8-33gBI$5VVL;2_fV*pT_<?d|dBYpUxULYtNf;<Sziw8{M(2-q<"
    "^4iRJMs4n7G&25_@qUteV$B#11Lr3Nroh)m?_ZM3}L&+gRbttocSgyB&HEdD^y)&V&vni2u`+~fv?BpsB)AY"
    "!A2Q9B(E64tK)iez}sU%feh{q72JInQWlO5{5iF^JKHz(oX<8=gcUf^377Cq$Z3WHhCyRpsR?&<h!{!aEngV"
    "nM`2(!&<g<dJv8PFx}*GFQi%I35Od)U9$ozAlAskA<j(H6hx^MDDgB(~>kP3`PmT&@vQVV<9_XQG!%Ouj*|R"
    "Rmq&*LUKjV_z2+Ydkk)V5KQGy$FDc|Ah-sC6Jyj?k91i#kpdn3E|IsGiF_8o&9|cY5zo%~GTX)!o0PL{2vK&"
    "l;z&SSR=)}0=9y%^kp6D!mqc%w3f3KrvBbB1DXEI7{Et^n{?%1e>QK5v=^?dK`hbFUDBYvE*|wd<!)!q>%;B"
    "%zJtuhlD21=BV+*X4)%n!+={BV)=h^?YspB{kaxia(?=FA!5AMf&|5gU=O(N&#{iS@p&GSWXJCi!QV9jiE6K"
    "O{54o}A{S@Gg{#T^a@squ^rN5LR6)?3Zh=9=Dyq2`W!xQ1Q$ul)p(<kvp"
)


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
    ("parquet list", zlib.decompress(base64.b85decode(STRUCT_WITHOUT_FIELDS))),
    ("other images", b"P5 31" + b"\v" * 13 + b"7\b*"),
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
