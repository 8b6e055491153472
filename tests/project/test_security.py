"""Versions in docs/security.md are those of the locks, and none is below the safe one."""

import pathlib
import re

import pytest
from packaging.requirements import Requirement
from packaging.version import Version

try:
    import tomllib
except ImportError:  # Python 3.10
    import tomli as tomllib

ROOT = pathlib.Path(__file__).parents[2]
LOCKS = ("requirements.lock", "requirements-dev.lock")
_VERSIONS = r"([\d.]+(?:, [\d.]+)*)"
ROW = re.compile(rf"^\| ([a-z0-9-]+) \| {_VERSIONS} \| {_VERSIONS} \| .+\|$", re.M)


def versions(text):
    return [Version(each) for each in text.split(", ")]


ROWS = {
    name: (versions(locked), versions(lowest))
    for name, locked, lowest in ROW.findall((ROOT / "docs" / "security.md").read_text())
}


def locked_versions(lock, name):
    text = (ROOT / lock).read_text()
    return sorted(map(Version, re.findall(rf"^{name}==([\d.]+)", text, re.M)))


def lower_bounds(name):
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    optional = [each for group in project["optional-dependencies"].values() for each in group]
    return sorted(
        Version(bound.version)
        for each in map(Requirement, [*project["dependencies"], *optional])
        for bound in each.specifier
        if each.name == name and bound.operator == ">="
    )


def test_the_table_is_found():
    assert len(ROWS) >= 11
    assert {"keras", "h5py", "pillow", "pyarrow", "protobuf", "simplejpeg"} <= set(ROWS)


@pytest.mark.parametrize("name", ROWS)
def test_versions_are_those_of_the_locks_and_not_below_the_safe_ones(name):
    stated, lowest = ROWS[name]
    found = [locked_versions(lock, name) for lock in LOCKS]
    assert all(each in ([], stated) for each in found)
    assert any(found)
    # Of several versions, each is for other versions of Python.
    lowest = lowest if len(lowest) == len(stated) else lowest * len(stated)
    assert all(each >= safe for each, safe in zip(stated, lowest, strict=True))


@pytest.mark.parametrize("name", ROWS)
def test_lower_bounds_are_not_below_the_safe_versions(name):
    bounds = lower_bounds(name)
    lowest = ROWS[name][1]
    assert bounds
    assert bounds[0] >= lowest[0]
    assert bounds[-1] >= lowest[-1]
