"""Paths in one form, whatever form the user or a list gives."""

import os

import pytest

from encoder.errors import InputError
from encoder.storage.registry import normalize, resolve


@pytest.mark.parametrize(
    "text",
    [
        "/a/p q.png",
        "//a/p q.png",
        "///a//p q.png",
        "/a/./p q.png",
        "/a/x/../p q.png",
        "/../a/p q.png",
        "/a/p q.png/",
        "/a/p q.png/.",
        "file:///a/p q.png",
        "file:///a/p%20q.png",
        "file:////a/p%20q.png",
        "file:/a/p%20q.png",
        "file://localhost/a/p%20q.png",
        "file://LOCALHOST//a/p%20q.png",
        "FILE:///a/%70%20q.png",
        "File:/a/x/../p%20q.png",
    ],
)
def test_all_forms_of_a_local_path_are_one(text):
    assert normalize(text) == "/a/p q.png"
    assert resolve(text, "/lists") == resolve(text, "gs://bucket/lists") == "/a/p q.png"


def test_a_relative_path_and_the_home_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    for text in ("x.png", "./x.png", "x//../x.png", "~/x.png"):
        assert normalize(text) == f"{tmp_path}/x.png"
    assert normalize(".") == normalize("") == str(tmp_path)
    assert resolve("~/x.png", "/lists") == "/lists/~/x.png"


def test_two_dots_behind_a_link_are_the_parent_of_its_target(tmp_path):
    (tmp_path / "far" / "deep").mkdir(parents=True)
    (tmp_path / "far" / "p.png").touch()
    (tmp_path / "link").symlink_to("far/deep")
    for text in ("link/../p.png", "link/./../p.png", "link/x/../../p.png", "far/../link/../p.png"):
        for found in (normalize(tmp_path / text), resolve(text, str(tmp_path))):
            assert found == f"{tmp_path}/far/p.png"
            assert os.path.exists(found)
    # A link before a folder stays as the user wrote it.
    assert normalize(f"{tmp_path}/link/x/../p.png") == f"{tmp_path}/link/p.png"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("GS://bucket/x", "gs://bucket/x"),
        ("gs://bucket/x/", "gs://bucket/x"),
        ("gs://bucket//x//y", "gs://bucket//x//y"),
        ("gs://bucket/a/../x%20y", "gs://bucket/a/../x%20y"),
    ],
)
def test_names_in_a_bucket_stay_as_they_are(text, expected):
    assert normalize(text) == resolve(text, "/lists") == expected


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("x.png", "gs://bucket//lists/x.png"),
        ("./x.png", "gs://bucket//lists/x.png"),
        ("a//x.png", "gs://bucket//lists/a//x.png"),
        ("../x.png", "gs://bucket//x.png"),
        ("../../../x.png", "gs://bucket/x.png"),
    ],
)
def test_paths_relative_to_a_folder_in_a_bucket(path, expected):
    assert resolve(path, "gs://bucket//lists") == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("file://elsewhere/x", "another machine"),
        ("file:///\ud800", "is no path"),
        ("~a\0b", "null byte"),
        ("file://localhost.example/x", "another machine"),
        ("GS:///x", "names no bucket"),
        ("FTP://x/y", "unknown scheme FTP://"),
    ],
)
def test_addresses_that_name_no_place(text, message):
    with pytest.raises(InputError, match=message):
        normalize(text)
