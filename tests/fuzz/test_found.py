"""Content that fuzzing has found: each stopped a parser, or took it too long."""

import pytest

from tests.fuzz.targets import TARGETS

FOUND = [
    ("uris", b"file:/H\x99e\x96\x1a0b"),
    ("column types", b"a=date\nb\xe6M[=bool"),
    ("patterns", b"{" * 5000),
    ("patterns", b"x" + b"{1..9}a1/x*.t" * 6),
    ("csv", b'uri,label,n\n"a","' + b'x","\n' * 3000),
    ("csv", b"uri,label,n\n" + b'x,y,"\n' * 3000),
    ("text list", b"#" * 100_000),
    ("json", b'[{"uri": "' + b"x" * (1 << 18) + b'"}' + b",{}" * 10_000 + b"]"),
]


@pytest.mark.parametrize(("name", "data"), FOUND)
def test_content_that_was_found(name, data):
    TARGETS[name].check(data)
