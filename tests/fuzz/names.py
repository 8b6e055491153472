"""Targets: uris, paths, globs and the types of columns."""

import contextlib
import os

from encoder.errors import InputError
from encoder.storage.local import LocalStore
from encoder.storage.registry import is_remote, normalize, resolve
from pipeline.inputs import patterns
from pipeline.inputs.lists.column_types import joined, parse_types
from pipeline.inputs.uris import archive_of, member_uri, path_of, readable, uri_of
from tests.fuzz.target import Target

WORDS = (
    *(
        b"file://",
        b"file:/",
        b"gs://",
        b"s3://",
        b"../",
        b"./",
        b"//",
        b"~",
        b"#",
        b".tar#",
        b"%00",
    ),
    *(
        b"%ff",
        b"%",
        b"\0",
        b"\xff",
        b"{a,b}",
        b"{1..9}",
        b"{1..99999999}",
        b"**/",
        b"[!",
        b"]",
        b"*",
    ),
    *(b"@eaDir/", b".", b"\\", b"\n"),
)


def text_of(data):
    """Any text that a command line or a list can give: with surrogates for bytes."""
    return data[:2000].decode("utf-8", "surrogateescape")


def check_uris(data):
    text = text_of(data)
    readable(text).encode()
    assert path_of(member_uri("/a.tar", text)).startswith("/a.tar#")
    assert archive_of(member_uri("/a.tar", text)) == "/a.tar"
    for make in (
        normalize,
        lambda each: resolve(each, "/base"),
        lambda each: resolve(each, "gs://b/c"),
    ):
        with contextlib.suppress(InputError):
            path = make(text)
            if is_remote(path):
                continue
            assert path.startswith("/")
            assert not {"", ".", ".."} & set(path.split("/")[1:]) or path == "/"
            assert normalize(path) == path
            assert path_of(uri_of(path)) == path
            uri_of(path).encode()
            with contextlib.suppress(OSError, ValueError):
                LocalStore().stat(path)


def check_patterns(data):
    pattern, _, path = text_of(data).partition("\n")
    with contextlib.suppress(InputError):
        patterns.matches(pattern, path)
        patterns.names(pattern, path)
        patterns.extensions_of(pattern)
        for base in ("/base", "gs://bucket"):
            patterns.including((pattern,), base, path)
            patterns.excluding((pattern,), base, path)
            patterns.lifting((pattern,), base, path)
        if path and not patterns.MAGIC.search(path) and not {"\\", "\0"} & set(path):
            clean = os.path.normpath(path).strip("/")
            assert clean in (".", "") or patterns.fits(clean, clean)


def check_types(data):
    pairs = [line.partition("=")[::2] for line in text_of(data).splitlines()]
    with contextlib.suppress(InputError):
        schema = parse_types(pairs, [name for name, _ in pairs])
        for one in schema.types:
            assert joined(one, one) == one
            for other in schema.types:
                joined(one, other)


TARGETS = (
    Target(
        "uris",
        check_uris,
        lambda: [b"/a/b.jpg", b"file:///a%20b", b"gs://b/c/../d", b"../e/./f"],
        WORDS,
    ),
    Target(
        "patterns",
        check_patterns,
        lambda: [b"**/*.{jpg,png}\na/b.jpg", b"[ab]?/x*.tar.gz\na1/xy.tar.gz", b".h/**\n.h/x.JPG"],
        WORDS,
    ),
    Target(
        "column types",
        check_types,
        lambda: [b"a=int64\nb=timestamp\nc=double", b"a=date\nb=text\nc=bool\nd=uint64"],
        (b"=", b"timestamp[ns]", b"list<", b"decimal", b"null", b"int8", b"string"),
    ),
)
