"""Extract the encoder of a file, and compare its vectors with what the file's Keras computes."""

from __future__ import annotations

import pathlib
import re
import shutil
from typing import Any, NamedTuple

import keras
import numpy as np
from numpy.typing import NDArray

import encoder
from encoder.errors import InputError, shortened
from tests.zoo.outcomes import REFUSED, Outcome

# As a share of the largest value. Versions of TensorFlow have different kernels, which add up in
# another order and use other approximations of exp and tanh; in deep networks that grows.
TOLERANCE = 1e-4
# Layers that compute in 16 bits keep 8 or 11 bits of each value, and versions round differently.
TOLERANCE_16_BIT = 3e-2


class Made(NamedTuple):
    """What the maker has made of some names.

    Attributes:
        kind: "layer", "network" or "application".
        names: several layers may be in one network.
        taps: where to cut for each name; empty: where ``auto`` says.
        images: (n, height, width, channels) uint8.
        values: the means over all positions of what each layer gives, (n, channels) by its name.
        others: likewise, of images whose values were multiplied by 1.000001.
    """

    kind: str
    names: list[str]
    taps: dict[str, str]
    images: NDArray[np.uint8]
    values: dict[str, NDArray[np.float64]]
    others: dict[str, NDArray[np.float64]]


def read_made(folder: pathlib.Path, kind: str, names: list[str], answer: dict[str, Any]) -> Made:
    """Read the maker's values from a folder."""
    with np.load(folder / "expected.npz") as file:
        steps = list(enumerate(map(str, file["steps"])))
        values, others = (
            {step: file[f"{what}{i}"] for i, step in steps} for what in ("value", "other")
        )
        return Made(kind, names, answer["taps"], file["images"], values, others)


def check_answer(
    folder: pathlib.Path, kind: str, names: list[str], answer: dict[str, Any]
) -> list[Outcome]:
    """The outcomes of all files that the maker has made of some names."""

    def outcomes(file: str, status: Any, detail: str) -> list[Outcome]:
        return [Outcome(kind, name, file, status, "", detail) for name in names]

    if "left_out" in answer:
        return outcomes("", "left out", answer["left_out"])
    if "cannot" in answer:
        return outcomes("", "not written", answer["cannot"])
    made = read_made(folder, kind, names, answer)
    found = [check_file(folder / file, made) for file in answer["files"]]
    cannot = [outcomes(file, "not written", why) for file, why in answer["cannot_save"].items()]
    return [each for group in found + cannot for each in group]


def check_file(path: pathlib.Path, made: Made) -> list[Outcome]:
    """The outcomes of one file. An error is the outcome of all names in the file."""
    file = "SavedModel" if path.is_dir() else path.suffix

    def outcome(name: str, status: Any, layer: str, detail: str) -> Outcome:
        return Outcome(made.kind, name, file, status, layer, detail)

    try:
        vectors = _vectors(path, made)
    except InputError as error:
        return [outcome(name, *_judged(error, made.kind, name)) for name in made.names]
    except Exception as error:  # whatever it is, it should have been an InputError
        text = f"{type(error).__name__}: {shortened(error)}"
        return [outcome(name, "FAULT", "", text) for name in made.names]
    finally:
        keras.backend.clear_session()
    found = []
    for name, (layer, vector) in zip(made.names, vectors.items(), strict=True):
        expected = made.values[layer]
        largest = difference(vector, expected)
        if largest <= (TOLERANCE_16_BIT if "float16" in name else TOLERANCE):
            found.append(outcome(name, "ok", layer, f"{largest:.1e}"))
        elif difference(made.others[layer], expected) > TOLERANCE:
            found.append(outcome(name, "not judged", layer, f"{largest:.1e}"))
        else:
            found.append(outcome(name, "FAULT", layer, f"{largest:.1e}"))
    return found


def _vectors(path: pathlib.Path, made: Made) -> dict[str, NDArray[np.float32]]:
    """The embeddings of the images, by the layer that was cut at."""
    bundle = path.parent / "bundle"
    height, width = made.images.shape[1:3]
    layers = [made.taps[name] for name in made.names] if made.taps else "auto"
    try:
        result = encoder.extract(
            path, bundle, layer=layers, preprocess="none", input_size=(height, width)
        )
        joined = result.embed(made.images)
    finally:
        shutil.rmtree(bundle, ignore_errors=True)
    spec = result.spec
    return {
        layer: joined[:, start:stop]
        for layer, (start, stop) in zip(spec.layers, spec.slices, strict=True)
    }


def difference(found: NDArray[np.float32], expected: NDArray[np.float64]) -> float:
    """As a share of the largest value; infinite if something is not finite or of another shape."""
    if found.shape != expected.shape or not np.isfinite(found).all():
        return float("inf")
    return float(np.abs(found - expected).max()) / max(float(np.abs(expected).max()), 1e-6)


def _judged(error: InputError, kind: str, name: str) -> tuple[Any, str, str]:
    """Whether a refusal is right: it is expected, and the message names what it is about."""
    about = re.split(r"[: ]", name)[0].lower()
    is_right = (kind, name) in REFUSED and about in str(error).lower()
    return "refused" if is_right else "FAULT", "", message_of(error)


def message_of(error: InputError) -> str:
    """The message, and the end of Keras' own, where the reason stands."""
    cause = " ".join(str(error.__cause__ or "").split())
    return f"{shortened(error)} ({cause[-250:]})" if cause else shortened(error)
