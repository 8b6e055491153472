"""Globs of inputs, and the patterns of --include and --exclude."""

import pytest

from encoder.errors import InputError
from pipeline.inputs.patterns import excluding, extensions_of, including, is_reached, matches


@pytest.mark.parametrize(
    ("pattern", "path", "expected"),
    [
        ("**/*.jpg", "s/x.JPG", True),
        ("**/*.jpg", "@eaDir/x.jpg", False),
        ("*/*", "#RECYCLE/x.jpg", False),
        ("*/*", "System Volume Information/x.jpg", False),
        ("*/@eaDir/*", "s/@eaDir/x.jpg", True),
        ("{@eaDir,s}/*", "@eaDir/x.jpg", True),
        ("@eaDir/**", "@eaDir/s/#recycle/x.jpg", False),
        ("*/*", "my @eaDir/x.jpg", True),
        ("*", "lost+found", True),  # a file
        ("*/*", ".@__thumb/x.jpg", False),
        ("**/*", ".git/x", False),
    ],
)
def test_wildcards_leave_out_the_folders_of_systems(pattern, path, expected):
    assert matches(pattern, path) == expected


@pytest.mark.parametrize(
    ("pattern", "path", "expected"),
    [
        ("@eaDir", "a/@eaDir/b/x.jpg", True),
        ("*_thumb*", "a/x_thumb.jpg", True),
        ("*_thumb*", "x_thumbs/y.jpg", True),
        ("*.png", "a/x.PNG", True),
        ("x", "a/xx", False),
        ("tmp/**", "tmp/a/b.jpg", True),
        ("tmp/**", "a/tmp/b.jpg", False),
        ("**/tmp/**", "a/tmp/b.jpg", True),
        ("/tmp", "tmp/b.jpg", True),
        ("/tmp", "a/tmp/b.jpg", False),
        ("./tmp/x", "tmp/x", True),
        ("tmp/", "a/tmp/b.jpg", True),
        ("tmp/", "a/tmp", False),  # a file
        ("a/tmp", "a/tmp/s/b.jpg", True),
        ("a/?", "a/b/x.jpg", True),
        ("a/?", "a/bc/x.jpg", False),
        ("*", ".git/x", True),
        ("/in/a", "a/x.jpg", True),  # the input's own path
        ("/in/a", "b/a/x.jpg", False),
        ("{a,b}", "b/x.jpg", True),
        ("[ab]", "c/x.jpg", False),
    ],
)
def test_exclude(pattern, path, expected):
    assert excluding((pattern,), "/in", path) == ([pattern] if expected else [])


def test_exclude_a_folder():
    assert excluding(("tmp/", "*.jpg"), "/in", "a/tmp", is_folder=True) == ["tmp/"]


@pytest.mark.parametrize(
    ("patterns", "path", "expected"),
    [
        (("*.ppm",), "a/x.PPM", ["*.ppm"]),
        (("*.ppm",), ".hidden/x.ppm", []),
        (("*.ppm",), "@eaDir/x.ppm", []),
        (("*.ppm", "@EADIR"), "a/@eaDir/x.ppm", ["*.ppm"]),
        (("@eaDir/*.ppm",), "@eaDir/x.ppm", ["@eaDir/*.ppm"]),
        (("@eaDir/*.ppm",), "a/@eaDir/x.ppm", []),
        ((".x.jpg",), "a/.x.jpg", [".x.jpg"]),
        ((".*",), "a/.x.jpg", [".*"]),
        (("a/*",), "a/x", ["a/*"]),
        (("a",), "a/x", []),  # a folder is searched anyway; what is not searched for is not taken
        (("*.ppm/",), "x.ppm", []),
    ],
)
def test_include(patterns, path, expected):
    assert including(patterns, "/in", path) == expected


def test_what_include_names_is_reached():
    assert is_reached((), "/in", "a/x.jpg")
    assert not is_reached((), "/in", ".git/x.jpg")
    assert is_reached((".git",), "/in", "a/.git/x.jpg")
    assert not is_reached((".git",), "/in", "a/.git/@eaDir/x.jpg")
    assert is_reached((".g*", "@eaDir"), "/in", "a/.git/@eaDir/x.jpg")


@pytest.mark.parametrize(
    "pattern", ["{1..999999999}", "{a,b}" * 30, "{" * 5000, "{a," * 900 + "}" * 900]
)
def test_braces_that_stand_for_too_much(pattern):
    """A pattern may come from a manifest, which others may have written."""
    for use in (extensions_of, lambda each: matches(each, "x"), lambda each: matches(each, ".x")):
        with pytest.raises(InputError, match="stand for more than 10,000 globs"):
            use(pattern)
    assert matches("{1..999}.jpg", "500.jpg")
