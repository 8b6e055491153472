"""Uris of files and of members of archives, and their paths."""

import os

import pytest

from pipeline.inputs import uris
from pipeline.inputs.uris import archive_of, member_uri, path_of, readable, uri_of

NOT_UTF8 = os.fsdecode(b"/photos/caf\xe9.jpg")


@pytest.mark.parametrize(
    "path",
    [
        "/a b.jpg",
        "/a#1.jpg",
        "/100%.jpg",
        "/[1]*?.jpg",
        "/line\nbreak.jpg",
        "/\N{CAT FACE}.jpg",
        "gs://bucket/a#b 100%.jpg",
        "s3://bucket/caf\u00e9.jpg",
    ],
)
def test_most_paths_are_their_own_uri(path):
    assert uri_of(path) == path_of(path) == path


@pytest.mark.parametrize(
    ("path", "uri"),
    [
        (NOT_UTF8, "file:///photos/caf%E9.jpg"),
        ("/a.tar#b.jpg", "file:///a.tar%23b.jpg"),
        ("/x.zip#y.zip#z.jpg", "file:///x.zip%23y.zip%23z.jpg"),
    ],
)
def test_other_paths_are_encoded_and_come_back(path, uri):
    assert uri_of(path) == uri
    assert path_of(uri) == path


def test_a_uri_of_another_machine_is_taken_as_text():
    assert path_of("file://elsewhere/a.jpg") == "file://elsewhere/a.jpg"


@pytest.mark.parametrize(
    ("archive", "name", "uri"),
    [
        ("/a.tar", "d/1.jpg", "/a.tar#d/1.jpg"),
        ("gs://b/a.zip", "x#y.png", "gs://b/a.zip#x#y.png"),
        ("/a.tar", os.fsdecode(b"caf\xe9.jpg"), "/a.tar#bytes:caf%E9.jpg"),
    ],
)
def test_packed_images(archive, name, uri):
    assert member_uri(archive, name) == uri
    assert archive_of(uri) == archive


@pytest.mark.parametrize("uri", ["/a.jpg", "/a#b.jpg", "/a.tar", "/a.txt#1", "#", ""])
def test_images_in_files_of_their_own(uri):
    assert archive_of(uri) is None


def test_the_first_archive_of_a_uri_counts():
    assert archive_of("/odd#name.tar#inner.zip#1.jpg") == "/odd#name.tar"


def test_a_uri_of_many_hashes(monkeypatch):
    """Looking at all that is before each of them took time that grew with the square."""
    lengths = []
    kind = uris.archive_kind
    monkeypatch.setattr(uris, "archive_kind", lambda name: lengths.append(len(name)) or kind(name))
    assert archive_of("/" + "#" * 10_000) is None
    assert sum(lengths) <= 10_000 * 100
    assert archive_of("/" + "a" * 9000 + ".tar#" + "#" * 9000) == "/" + "a" * 9000 + ".tar"


def test_a_file_uri_with_bytes_that_are_not_encoded():
    assert path_of("file:///\udce9%e9.jpg") == "/\udce9\udce9.jpg"
    assert path_of("file:///\ud800.jpg") == "file:///\ud800.jpg"


def test_readable_text_is_utf8():
    assert readable(NOT_UTF8) == "/photos/caf\\udce9.jpg"
    assert readable("/\u00e4.jpg") == "/\u00e4.jpg"
