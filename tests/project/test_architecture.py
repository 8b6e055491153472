"""docs/architecture.md and its picture show the real folders and imports."""

import pathlib
import re

import pytest

from docs import draw_architecture

ROOT = pathlib.Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = [
    *(ROOT / name for name in ("CONTRIBUTING.md", "SECURITY.md")),
    *sorted((DOCS / "decisions").glob("*.md")),
]
FOLDERS = sorted(
    path.parent.relative_to(ROOT).as_posix()
    for package in draw_architecture.PACKAGES
    for path in (ROOT / package).rglob("__init__.py")
)


def rooms(package):
    """The folders and modules directly inside a package."""
    for path in (ROOT / package).iterdir():
        is_module = path.suffix == ".py" or (path / "__init__.py").exists()
        if is_module and not path.name.startswith("__"):
            yield f"{package}.{path.stem}"


def test_the_picture_shows_the_imports():
    assert draw_architecture.PICTURE.read_text() == draw_architecture.draw(), (
        "the imports have changed: run python -m docs.draw_architecture"
    )


@pytest.mark.parametrize("package", draw_architecture.PACKAGES)
def test_every_room_has_a_floor_and_a_purpose(package):
    on_floors = [room for floor in draw_architecture.floors_of(package) for room in floor]
    described = {room for room in draw_architecture.PURPOSES if room.startswith(f"{package}.")}
    assert sorted(on_floors) == sorted(rooms(package)) == sorted(described)


def test_arrows_that_follow_from_others_are_left_out():
    between = {"a": {"b", "c", "d"}, "b": {"c"}, "c": {"d"}, "d": set()}
    assert draw_architecture.needed_arrows(between) == [("a", "b"), ("b", "c"), ("c", "d")]


@pytest.mark.parametrize("folder", FOLDERS)
def test_the_page_names_every_folder(folder):
    assert f"`{folder}/`" in (DOCS / "architecture.md").read_text()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page):
    text = page.read_text()
    for target in re.findall(r"\]\(([^)#]+)", text):
        assert "://" in target or (page.parent / target).exists(), target
    for path in re.findall(r"`((?:docs|encoder|pipeline|tests|benchmarks)/[\w./]+)`", text):
        assert (ROOT / path).exists(), path
