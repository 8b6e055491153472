"""The versions of Keras that the zoo has files of, each with an environment of its own."""

from __future__ import annotations

import os
import pathlib
import shutil
import subprocess
import sys
from typing import NamedTuple

CACHE = pathlib.Path(".cache/zoo")
_ENVIRONMENTS = CACHE / "environments"


class Version(NamedTuple):
    """What makes files of one version of Keras.

    Attributes:
        python: the version of Python, or "" for the environment that runs this.
        packages: what the environment has, for pip.
        module: the module that is Keras.
    """

    python: str
    packages: tuple[str, ...]
    module: str = "keras"


# protobuf and NumPy are the last ones that those versions of TensorFlow ran with.
VERSIONS = {
    "2.4": Version(
        "3.8",
        ("tensorflow-cpu==2.4.4", "h5py==2.10.0", "numpy==1.19.5", "protobuf==3.20.3"),
        "tensorflow.keras",
    ),
    "2.9": Version(
        "3.9", ("tensorflow-cpu==2.9.3", "numpy==1.23.5", "protobuf==3.19.6"), "tensorflow.keras"
    ),
    "2.15": Version("3.10", ("tensorflow-cpu==2.15.1", "numpy==1.26.4"), "tensorflow.keras"),
    "2-today": Version("", (), "tf_keras"),
    "3.0": Version("3.10", ("tensorflow-cpu==2.16.2", "keras==3.0.5", "numpy==1.26.4")),
    "3.5": Version("3.10", ("tensorflow-cpu==2.17.1", "keras==3.5.0", "numpy==1.26.4")),
    "3.10": Version("3.11", ("tensorflow-cpu==2.19.1", "keras==3.10.0", "numpy==1.26.4")),
    "3-today": Version("", ()),
}


def interpreter(name: str) -> str:
    """The Python of a version's environment, which is made if it is not there.

    Raises:
        subprocess.CalledProcessError: there is no such Python, or a package can't be installed.
        FileNotFoundError: uv is not installed.
    """
    version = VERSIONS[name]
    if not version.python:
        return sys.executable
    folder = (_ENVIRONMENTS / name).absolute()
    python, ready = folder / "bin" / "python", folder / ".ready"
    wanted = "\n".join(version.packages)
    if not ready.exists() or ready.read_text() != wanted:
        _uv("venv", "--clear", "--python", _python(version.python), str(folder))
        # setuptools: distutils' heir, which TensorFlow before 2.16 imports.
        _uv("pip", "install", "--python", str(python), *version.packages, "setuptools<81")
        ready.write_text(wanted)
    return str(python)


def _python(version: str) -> str:
    """pyenv's Python of a version, which uv does not find by itself; or the version, for uv."""
    root = pathlib.Path(os.environ.get("PYENV_ROOT", pathlib.Path.home() / ".pyenv"))
    found = sorted((root / "versions").glob(f"{version}.*/bin/python"))
    return str(found[-1]) if found else version


def _uv(*words: str) -> None:
    uv = shutil.which("uv")
    if uv is None:
        raise FileNotFoundError("uv is not on the PATH: pip install uv")
    subprocess.run([uv, *words, "--quiet"], check=True)
