"""Rules of the design that a reader could break without noticing."""

import ast
import pathlib
import subprocess
import sys

import pytest

import encoder
import pipeline

ROOT = pathlib.Path(__file__).parents[1]
SOURCES = sorted([*(ROOT / "encoder").rglob("*.py"), *(ROOT / "pipeline").rglob("*.py")])
WITH_BEAM = (
    *("pipeline/graph.py", "pipeline/steps/", "pipeline/launch/", "pipeline/embedding/handler.py"),
    *("pipeline/inputs/stores/s3.py", "pipeline/inputs/stores/beam.py"),
)


def imported(path):
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            names.add(node.module or "")
    return {name.partition(".")[0] for name in names}


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_imports(path):
    names = imported(path)
    if path.is_relative_to(ROOT / "encoder"):
        assert not names & {"pipeline", "apache_beam"}
    elif not path.relative_to(ROOT).as_posix().startswith(WITH_BEAM):
        assert "apache_beam" not in names


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_files_stay_small(path):
    assert len(path.read_text().splitlines()) <= 300


def test_one_module_knows_the_object_store():
    knowing = {
        path.relative_to(ROOT).as_posix() for path in SOURCES if "google.cloud" in path.read_text()
    }
    assert knowing == {"encoder/storage/gcs/client.py"}


UPKEEP = (
    "import pipeline.__main__; from pipeline.upkeep import compact, prune, repair, status, verify"
)


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
