import os

import pyarrow as pa
import pytest

from encoder.errors import InputError
from pipeline.inputs.archives.base import Packing
from pipeline.inputs.archives.registry import index_archive
from pipeline.inputs.files import Linked, list_files
from pipeline.inputs.resolve import ListSettings
from pipeline.inputs.roots import RefusedError, Roots, parse_root
from pipeline.inputs.source import parse_input
from pipeline.options import ListOptions
from pipeline.records import Image
from tests.support.listing import listed
from tests.support.packed import picture, tar


@pytest.fixture
def tree(tmp_path):
    """Images in data, in a folder whose name begins alike, and elsewhere."""
    for place in ("data/a.png", "data/sub/b.png", "data2/c.png", "else/d.png"):
        path = tmp_path / place
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")
    return tmp_path


def roots(*allowed, inputs=()):
    return Roots(tuple(parse_root(str(each)) for each in allowed), tuple(inputs))


def errors(source, given):
    """The errors by uri of what an input lists."""
    settings = ListSettings(ListOptions(), pa.schema([]), "/out", "id", 300.0, False, given)
    found = listed(source, settings)
    images = (each.image if isinstance(each, Linked) else each for each in found)
    return {each.uri: each.error for each in images if isinstance(each, Image)}


def of_list(tree, given, *lines):
    path = tree / "list.txt"
    path.write_text("\n".join(map(str, lines)))
    return list(errors(parse_input(str(path)), given).values())


@pytest.mark.parametrize(
    "line",
    [
        "{}/data/a.png",
        "data/sub/b.png",
        "file://{}/data/a.png",
        "FILE://localhost{}/data/%61.png",
        "{}//data/./a.png",
        "{}/data/../data/a.png",
        "{}/else/../data/a.png",
    ],
)
def test_a_list_may_name_what_is_below_a_root(tree, line):
    for given in (roots(tree / "data"), roots(f"file://{tree}/data/"), Roots()):
        assert of_list(tree, given, line.format(tree)) == [None]


@pytest.mark.parametrize(
    "line",
    [
        "/etc/passwd",
        "{}/data2/c.png",
        "{}/data/../data2/c.png",
        "file://{}/data/%2e%2e/data2/c.png",
        "{}/dat",
        "{}",
        "data/../../../../../../../../../etc/passwd",
        "gs://bucket/a.png",
        "s3://bucket/a.png",
    ],
)
def test_nothing_else_is_reached(tree, line, monkeypatch):
    touched = []
    real = os.stat
    monkeypatch.setattr(os, "stat", lambda *a, **k: touched.append(str(a[0])) or real(*a, **k))
    given = roots(tree / "data")
    touched.clear()
    (error,) = of_list(tree, given, line.format(tree))
    assert "outside of --allow-root" in error
    assert f"{tree}/data" in error
    assert "would allow it" in error
    assert not [each for each in touched if "passwd" in each or "data2" in each]


def test_addresses_are_compared_by_whole_names():
    given = roots("gs://b/images/", "S3://whole", "azfs://")
    for path in ("gs://b/images/x.png", "s3://whole/x/y.png", "azfs://any/c/x.png"):
        assert given.refusal_of_listed(path, "/list.txt") is None
    for path in (
        "gs://b/images2/x.png",
        "gs://bucket/images/x.png",
        "gs://b/images/../secret.png",
        "gs://b/images/./x.png",
        "s3://whole2/x.png",
        "hdfs://whole/x.png",
        "/whole/x.png",
    ):
        assert "outside of --allow-root" in given.refusal_of_listed(path, "/list.txt")
        assert Roots().refusal_of_listed(path, "/list.txt") is None


def test_a_list_in_a_bucket_names_no_local_files_unless_a_root_allows_it(tree):
    local = f"{tree}/data/a.png"
    for place in ("gs://b/list.txt", "s3://b/list.txt"):
        assert f"--allow-root {tree}/data would allow it" in Roots().refusal_of_listed(local, place)
        assert Roots().refusal_of_listed("gs://other/a.png", place) is None
        assert roots(tree / "data").refusal_of_listed(local, place) is None
        assert "outside" in roots(tree / "data").refusal_of_listed("gs://other/a.png", place)


def test_what_an_input_lists_itself_is_allowed_for_lists_too(tree):
    given = roots(tree / "else", inputs=[parse_input(f"{tree}/data/*.png")])
    found = of_list(tree, given, "data/a.png", "data/sub/b.png", "else/d.png")
    assert [bool(error) for error in found] == [False, True, False]


def test_links_lead_into_roots_only(tree):
    links = {"in.png": "a.png", "out.png": "../else/d.png", "folder": "../else", "same": "sub"}
    for name, target in links.items():
        (tree / "data" / name).symlink_to(target)
    data = f"{tree}/data"
    source = parse_input(data)
    every = dict.fromkeys(
        f"{data}/{name}"
        for name in ("a.png", "out.png", "sub/b.png", "folder/d.png")  # see test_links.py
    )
    assert errors(source, Roots(inputs=(source,))) == every
    found = errors(source, roots(tree / "data2", inputs=[source]))
    refused = {uri: error for uri, error in found.items() if error}
    assert sorted(refused) == [f"{data}/folder/", f"{data}/out.png"]
    assert f"--allow-root {tree}/else would allow it" in refused[f"{data}/out.png"]
    assert set(found) - set(refused) == set(every) - {f"{data}/out.png", f"{data}/folder/d.png"}
    assert errors(source, roots(tree / "else", inputs=[source])) == every
    lines = (f"{data}/out.png", f"{data}/folder/d.png", f"{data}/in.png", f"{data}/same/b.png")
    found = of_list(tree, roots(data), *lines)
    assert [bool(error) for error in found] == [True, True, False, False]


def test_lists_behind_links_are_not_opened(tree):
    (tree / "secret").write_text("root:x:0:0\n")
    (tree / "data" / "evil.txt").symlink_to("../secret")
    source = parse_input(f"{tree}/data/*.txt")
    found = errors(source, roots(tree / "else", inputs=[source]))
    assert list(found) == [f"{tree}/data/evil.txt"]
    assert "a link to" in found[f"{tree}/data/evil.txt"]


def test_what_the_command_line_names_may_be_a_link_itself(tree):
    (tree / "current").symlink_to("data")
    (tree / "one.png").symlink_to("else/d.png")
    for text in (f"{tree}/current", f"{tree}/one.png", f"{tree}/current/*.png"):
        source = parse_input(text)
        given = roots(tree / "data2", inputs=[source])
        found = list(list_files(source, roots=given))
        assert found
        assert not any(each.error for each in found)
    assert of_list(tree, roots(tree / "current"), "current/a.png", "data/a.png") == [None, None]


def test_a_link_that_changes_between_the_check_and_the_opening(tree):
    """The opened file counts, not what the link was when it was listed."""
    link, packed = tree / "data" / "x.tar", tree / "data" / "whole.tar"
    tar(packed, [("a.png", picture(1))])
    (tree / "else" / "secret.tar").write_bytes(packed.read_bytes())
    link.symlink_to("whole.tar")
    given = roots(tree / "data")
    archive = Image(str(link), f"{packed.stat().st_mtime_ns}-{packed.stat().st_size}", 1)
    assert [each.name for each in index_archive(archive, Packing(roots=given))] == ["a.png"]
    link.unlink()
    link.symlink_to("../else/secret.tar")
    state = link.stat()
    archive = archive._replace(version=f"{state.st_mtime_ns}-{state.st_size}")
    with pytest.raises(RefusedError, match=r"a link to .*else/secret.tar"):
        list(index_archive(archive, Packing(roots=given)))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "--allow-root is empty"),
        (" ", "--allow-root is empty"),
        ("missing", "no such folder"),
        ("file://elsewhere/data", "on another machine"),
        ("what://b/c", "unknown scheme"),
        ("gs:///b", "names no bucket"),
        ("gs://b/images/*", "without '*'"),
        ("gs://b/../c", "without '*'"),
        (__file__, "no such folder"),
    ],
)
def test_roots_that_are_none(text, message):
    with pytest.raises(InputError, match="--allow-root") as caught:
        parse_root(text)
    assert message in str(caught.value)


def test_a_root_is_absolute(tree, monkeypatch):
    monkeypatch.chdir(tree)
    assert parse_root("data") == parse_root("./data/") == f"{tree}/data"
    assert parse_root("/") == "/"
    assert Roots(("/",)).refusal_of_listed("/etc/passwd", "gs://b/list.txt") is None
