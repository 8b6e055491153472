"""The package that users install, and the container image of workers."""

import pathlib
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from importlib import metadata

import pytest

ROOT = pathlib.Path(__file__).parents[2]
NAME = "image-collection-embeddings"


def test_the_setup_stub_builds_what_beam_ships(tmp_path):
    """Beam runs this command for --setup_file and sends the archive to the workers."""
    source = tmp_path / "source"
    files = [*ROOT.glob("*.*"), ROOT / "LICENSE", ROOT / "encoder", ROOT / "pipeline"]
    source.mkdir()
    for path in files:
        (source / path.name).symlink_to(path)
    command = [sys.executable, "setup.py", "-q", "sdist", "--dist-dir", str(tmp_path / "dist")]
    subprocess.run(command, check=True, cwd=source, capture_output=True)
    (archive,) = (tmp_path / "dist").glob("*.tar.gz")
    with tarfile.open(archive) as opened:
        names = {name.partition("/")[2] for name in opened.getnames()}
    assert {"setup.py", "pyproject.toml"} | package_files() <= names
    assert not [name for name in names if name.startswith(("tests", "examples"))]


def test_the_wheel_holds_every_module(tmp_path):
    """What ``pip install .`` and the Dockerfile install, built from the sdist's own files."""
    source = tmp_path / "source"
    for name in ("encoder", "pipeline"):
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "setup.py", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source / name)
    command = ["pip", "wheel", "-q", "--no-deps", "--no-build-isolation", "-w", tmp_path, source]
    subprocess.run([sys.executable, "-m", *command], check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as opened:
        names = set(opened.namelist())
    assert package_files() <= names
    others = {name for name in names - package_files() if ".dist-info/" not in name}
    assert not others


def package_files():
    """All modules of both packages, in all subfolders, the py.typed files, and tables."""
    found = {
        path.relative_to(ROOT).as_posix()
        for package in ("encoder", "pipeline")
        for path in (ROOT / package).rglob("*.py")
    }
    return found | {"encoder/py.typed", "pipeline/py.typed", "pipeline/cli/machines.json"}


def test_the_lock_covers_every_dependency():
    locked = {}
    for line in (ROOT / "requirements.lock").read_text().splitlines():
        match = re.match(r"([a-z0-9._-]+)==([^ ;]+)", line)
        if match:
            locked.setdefault(match[1], []).append(match[2])
    for requirement in metadata.requires(NAME):
        if "extra ==" not in requirement:
            name = re.match(r"[A-Za-z0-9._-]+", requirement)[0]
            assert name in locked, f"{name} is not in requirements.lock; run make lock"
    assert "http" not in " ".join(
        re.findall(r"^--.*$", (ROOT / "requirements.lock").read_text(), re.M)
    )


def test_what_runs_here_is_what_is_locked():
    text = (ROOT / "requirements.lock").read_text()
    for name in ("apache-beam", "tensorflow", "pyarrow", "google-cloud-storage", "pillow"):
        assert f"{name}=={metadata.version(name)}" in text


def test_the_dockerfile_is_clean():
    hadolint = pathlib.Path(sys.executable).with_name("hadolint")
    result = subprocess.run(
        [hadolint, "--no-color", ROOT / "Dockerfile"], capture_output=True, text=True, check=False
    )
    assert (result.returncode, result.stdout) == (0, "")


def test_the_dockerfile_fits_the_lock():
    text = (ROOT / "Dockerfile").read_text()
    beam = metadata.version("apache-beam")
    assert re.search(rf"^ARG BEAM_VERSION={re.escape(beam)}$", text, re.M)
    assert 'ENTRYPOINT ["/opt/apache/beam/boot"]' in text


@pytest.mark.parametrize("script", ["extract-encoder", "embed-images"])
def test_console_scripts(script):
    path = pathlib.Path(sys.executable).with_name(script)
    result = subprocess.run([path, "--help"], capture_output=True, text=True, check=True)
    assert "COMMAND" in result.stdout
