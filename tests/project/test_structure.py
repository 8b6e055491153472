"""Rules of the design that import-linter (``make check``) can't check."""

import pathlib
import re
import subprocess
import sys

import pytest

import encoder
import pipeline

ROOT = pathlib.Path(__file__).parents[2]
PACKAGES = [ROOT / "encoder", ROOT / "pipeline"]
SOURCES = sorted(path for package in PACKAGES for path in package.rglob("*.py"))
FOLDERS = sorted({path.parent for path in SOURCES})
MOST_LINES = 400
MOST_ROOMS = 12
UPKEEP = (
    "import pipeline.__main__; from pipeline.upkeep import compact, prune, repair, status, verify"
)


def name_of(path):
    return path.relative_to(ROOT).as_posix()


def test_subpackages_are_seen():
    """Otherwise the other tests would check nothing."""
    assert len(SOURCES) > 120
    assert ROOT / "encoder/storage/gcs/client.py" in SOURCES


@pytest.mark.parametrize("path", SOURCES, ids=name_of)
def test_files_stay_small(path):
    assert len(path.read_text().splitlines()) <= MOST_LINES


@pytest.mark.parametrize("folder", FOLDERS, ids=name_of)
def test_folders_stay_small_and_say_what_they_are_for(folder):
    text = (folder / "__init__.py").read_text()
    assert text.startswith('"""')
    if folder not in PACKAGES:
        rooms = [
            path
            for path in folder.iterdir()
            if path.name not in ("__init__.py", "__main__.py", "__pycache__", "py.typed")
        ]
        assert len(rooms) <= MOST_ROOMS
        assert text.strip().endswith('"""'), (
            "a subpackage's __init__ holds nothing but its docstring"
        )
        assert "mport" in text, "it says who may import it"


def test_one_module_knows_the_object_store():
    knowing = {name_of(path) for path in SOURCES if "google.cloud" in path.read_text()}
    assert knowing == {"encoder/storage/gcs/client.py"}


def test_one_module_makes_paths_in_the_output():
    """Others would have to check what they join: manifests and listings may name any path."""
    folders = ("dataset", "upkeep", "runs", "steps", "embedding", "launch", "cli")
    joining = {
        name_of(path)
        for path in SOURCES
        if path.is_relative_to(ROOT / "pipeline")
        and path.relative_to(ROOT / "pipeline").parts[0] in folders
        and re.search(r"import .*\bjoin\b|\bbase\.join\b", path.read_text())
    }
    assert joining == {"pipeline/dataset/layout.py"}


@pytest.mark.parametrize(
    "statement", ["import pipeline, encoder", "import encoder.images.decode", UPKEEP]
)
def test_importing_is_light(statement):
    code = (
        f"{statement}; import sys; print('tensorflow' in sys.modules, 'apache_beam' in sys.modules)"
    )
    out = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT
    ).stdout
    assert out.split() == ["False", "False"]


@pytest.mark.parametrize("module", [encoder, pipeline])
def test_every_exported_name_exists(module):
    assert sorted(module.__all__, key=str.lower) == sorted(dir(module), key=str.lower)
    for name in module.__all__:
        assert getattr(module, name).__doc__
    with pytest.raises(AttributeError, match="no_such_name"):
        module.no_such_name  # noqa: B018


def test_the_version_has_one_place(capsys):
    from importlib import metadata

    assert encoder.__version__ == pipeline.__version__
    assert metadata.version("image-collection-embeddings") == encoder.__version__
    for package in ("encoder", "pipeline"):
        done = subprocess.run(
            [sys.executable, "-m", package, "--version"], capture_output=True, text=True, check=True
        )
        assert done.stdout == f"image-collection-embeddings {encoder.__version__}\n"


OUTPUT = re.compile(
    r"(?<![.\w])print\(|sys\.(stdout|stderr)|\bConsole\(|basicConfig|StreamHandler|rich\.markup"
    r"|traceback\.print|(?<!Beam)ArgumentParser\("
)


def test_one_module_writes_to_the_terminal():
    """It escapes what names of files could do there; see encoder.terminal."""
    writing = {name_of(path) for path in SOURCES if OUTPUT.search(path.read_text())}
    assert writing == {"encoder/terminal.py"}
