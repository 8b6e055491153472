"""A file that links give several names is listed under one of them, whatever the order."""

import itertools
import os

import pytest

from pipeline.inputs.files import Linked, Names, first_name, list_files
from pipeline.inputs.source import parse_input
from pipeline.records import Image
from tests.conftest import write_image


def listed(*texts, **options):
    """The names that inputs give to files, as in a run: name -> the inputs that list it."""
    inputs = [parse_input(str(text), **options) for text in texts]
    names = Names(inputs)
    found, linked = {}, {}
    for source in inputs:
        for each in list_files(source, None, names):
            if not isinstance(each, Linked) or each.uri:
                found.setdefault(each.uri, set()).add(source.text)
            else:
                linked.setdefault(each.place, []).append(each.image)
    for images in linked.values():
        found[first_name(images).uri] = {image.source for image in images}
    return found


@pytest.fixture
def tree(tmp_path):
    """Photos in a folder `in`, and more in a folder `out` beside it."""
    for folder in ("in/real", "out/deep"):
        for number in range(2):
            write_image(tmp_path / folder / f"{number}.jpg", number)
    return tmp_path


def short(found, tree):
    return {uri.removeprefix(f"{tree}/") for uri in found}


REAL = {"in/real/0.jpg", "in/real/1.jpg"}


@pytest.mark.parametrize("link", ["a", "z"])
@pytest.mark.parametrize("pattern", ["", "/**/*.jpg", "/*/*.jpg"])
def test_a_link_to_a_folder_that_is_listed_as_well(tree, link, pattern):
    (tree / "in" / link).symlink_to("real")
    assert short(listed(f"{tree}/in{pattern}"), tree) == REAL


@pytest.mark.parametrize("link", ["a", "z"])
def test_a_link_to_the_parent(tree, link):
    (tree / "in" / "real" / link).symlink_to("..")
    (tree / "in" / "0.jpg").write_bytes(b"")
    assert short(listed(tree / "in"), tree) == {*REAL, "in/0.jpg"}
    assert short(listed(tree / "in" / "real"), tree) == {*REAL, f"in/real/{link}/0.jpg"}


@pytest.mark.parametrize("pattern", ["", "/**/*.jpg", "/*/*/*.jpg"])
def test_two_links_to_a_folder_elsewhere(tree, pattern):
    for name in ("b", "a", "c"):
        (tree / "in" / name).symlink_to(tree / "out")
    found = short(listed(f"{tree}/in{pattern}"), tree) - REAL
    assert found == {"in/a/deep/0.jpg", "in/a/deep/1.jpg"}


def test_a_link_into_what_another_link_holds(tree):
    (tree / "in" / "b").symlink_to(tree / "out")
    (tree / "in" / "a").symlink_to(tree / "out" / "deep")
    assert short(listed(tree / "in"), tree) == {*REAL, "in/a/0.jpg", "in/a/1.jpg"}


def test_links_to_files(tree):
    for name in ("in/x.jpg", "in/y.jpg"):
        (tree / name).symlink_to(tree / "out" / "deep" / "0.jpg")
    (tree / "in" / "own.jpg").symlink_to(tree / "in" / "real" / "0.jpg")
    assert short(listed(tree / "in"), tree) == {*REAL, "in/x.jpg"}
    assert short(listed(tree / "in", tree / "out"), tree) == {
        *REAL,
        "out/deep/0.jpg",
        "out/deep/1.jpg",
    }


@pytest.mark.parametrize("texts", list(itertools.permutations(["in/link", "in/real"])))
def test_inputs_of_a_link_and_of_its_target(tree, texts):
    (tree / "in" / "link").symlink_to("real")
    found = listed(*(tree / text for text in texts))
    assert short(found, tree) == REAL
    assert all(len(inputs) == 2 for inputs in found.values())  # neither is an empty input


@pytest.mark.parametrize("texts", list(itertools.permutations(["l2", "l1", "l3/*.jpg"])))
def test_inputs_that_are_links_to_one_folder(tree, texts):
    for name in ("l1", "l2", "l3"):
        (tree / name).symlink_to(tree / "out" / "deep")
    assert short(listed(*(f"{tree}/{text}" for text in texts)), tree) == {"l1/0.jpg", "l1/1.jpg"}


@pytest.mark.parametrize("texts", list(itertools.permutations(["in", "other"])))
def test_links_in_two_inputs_to_a_third_place(tree, texts):
    (tree / "other").mkdir()
    for place in ("in/x", "other/a"):
        (tree / place).symlink_to(tree / "out")
    found = listed(*(tree / text for text in texts))
    assert short(found, tree) == {*REAL, "in/x/deep/0.jpg", "in/x/deep/1.jpg"}


@pytest.mark.parametrize("texts", list(itertools.permutations(["in/real/0.jpg", "in/link.jpg"])))
def test_inputs_that_are_a_file_and_a_link_to_it(tree, texts):
    (tree / "in" / "link.jpg").symlink_to("real/0.jpg")
    assert short(listed(*(tree / text for text in texts)), tree) == {"in/real/0.jpg"}
    assert short(listed(tree / "in/link.jpg"), tree) == {"in/link.jpg"}


def test_an_input_that_is_a_link_keeps_its_name(tree):
    (tree / "current").symlink_to("in")
    assert short(listed(tree / "current"), tree) == {"current/real/0.jpg", "current/real/1.jpg"}
    (tree / "in" / "link").symlink_to("real")
    assert short(listed(tree / "current"), tree) == {"current/real/0.jpg", "current/real/1.jpg"}


def test_a_file_that_only_a_link_shows_is_listed(tree):
    """Where the folder itself is hidden, left out, or not matched."""
    (tree / "in" / ".hidden").mkdir()
    write_image(tree / "in" / ".hidden" / "h.jpg", 1)
    (tree / "in" / "seen").symlink_to(".hidden")
    assert short(listed(tree / "in"), tree) == {*REAL, "in/seen/h.jpg"}
    (tree / "in" / "link").symlink_to("real")
    assert short(listed(f"{tree}/in/link*/*.jpg"), tree) == {"in/link/0.jpg", "in/link/1.jpg"}
    assert "in/link/0.jpg" in short(listed(tree / "in", exclude=("real",)), tree)
    assert "in/link/0.jpg" in short(listed(tree / "in", exclude=("/real/**",)), tree)
    assert "in/real/0.jpg" in short(listed(tree / "in", exclude=("link",)), tree)


def test_what_differs_only_by_a_pattern_is_found(tree):
    """A folder that was searched by another name may have to be searched again."""
    (tree / "in" / "a").symlink_to(tree / "out")
    (tree / "in" / "b").symlink_to(tree / "out")
    (tree / "out" / "x.odd").write_bytes(b"")
    found = short(listed(tree / "in", include=("/b/*.odd",)), tree)
    assert "in/b/x.odd" in found
    assert short(listed(f"{tree}/in/b/*.odd"), tree) == {"in/b/x.odd"}


def test_names_that_are_not_utf8(tree):
    for name in (b"a\xff", b"b\xff"):
        os.symlink(b"../out", os.fsencode(tree / "in") + b"/" + name)
    found = listed(tree / "in")
    assert len(found) == 4
    assert sum("a%FF/deep/" in uri for uri in found) == 2


def test_an_input_of_everything(tree):
    source = parse_input("/")
    (tree / "link").symlink_to("in")
    names = Names([source, parse_input(str(tree / "link"))])
    image = Image(f"{tree}/link/real/0.jpg", "", 1)
    found = names.of(image.uri, image, None)
    assert found == Linked(image, f"{tree}/in/real/0.jpg", f"{tree}/in/real/0.jpg")


def test_broken_links_and_hard_links_keep_their_names(tree):
    (tree / "in" / "broken.jpg").symlink_to("nowhere.jpg")
    os.link(tree / "in" / "real" / "0.jpg", tree / "in" / "hard.jpg")
    assert short(listed(tree / "in"), tree) == {*REAL, "in/broken.jpg", "in/hard.jpg"}


def test_folders_full_of_links_to_each_other_are_searched_once(tree):
    """There are 12! ways through them."""
    for one, other in itertools.permutations(range(12), 2):
        folder = tree / "ring" / str(one)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"to-{other}").symlink_to(tree / "ring" / str(other))
        write_image(folder / "x.jpg", one) if not (folder / "x.jpg").exists() else None
    assert len(listed(tree / "ring")) == 12
    (tree / "in" / "ring").symlink_to(tree / "ring" / "0")
    assert len(listed(tree / "in")) == len(REAL) + 12
