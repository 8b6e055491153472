"""What an encoder bundle says of itself: the contents of ``encoder.json``."""

from __future__ import annotations

import dataclasses
import json
import os
from typing import Any

from encoder.errors import InputError
from encoder.storage.base import join
from encoder.storage.registry import normalize, store_for

MODEL_FILE = "encoder.keras"
SPEC_FILE = "encoder.json"
FORMAT = "encoder-bundle/1"
POOLINGS = ("gap", "max", "gem", "flatten")
PREPROCESS_MODES = ("caffe", "tf", "torch", "unit", "none")
RESIZES = ("bilinear", "nearest", "box", "hamming", "bicubic", "lanczos")
FITS = ("stretch", "crop", "pad")
DECODES = ("exact", "fast")
PRECISIONS = ("float32", "bfloat16", "float16", "tf32")


@dataclasses.dataclass(frozen=True)
class EncoderSpec:
    """Everything that decides the vectors of an encoder, and where it came from.

    Attributes:
        id: 16 hex digits; equal ids mean equal vectors for equal images.
        source: the trained model's file, as it was named.
        source_sha256: of that file's content, in hex.
        layers: names of the tapped layers, in the order of the vector.
        slices: for each tapped layer, the [start, stop) of its values in the vector.
        pooling: one of POOLINGS.
        gem_p: the exponent of "gem"; None for other poolings.
        normalize: whether vectors are scaled to unit length.
        dim: length of an embedding.
        height, width, channels: of the uint8 images that the encoder takes, in pixels.
        preprocess: one of PREPROCESS_MODES, applied inside the model call.
        resize, fit: how an image of another size is brought to height x width.
        decode: "exact", or "fast": large JPEGs are decoded at a half, a quarter or an eighth of
            their size, and at no less than twice the size that they are resized to.
        background: RGB colour (0-255) under transparent pixels and around padded images.
        precision: dtype that the layers compute in; embeddings are always float32. "tf32" is
            float32 of which GPUs that can multiply no more than 10 bits of the fraction.
        max_difference: largest difference seen between the trained network and its cut, as a
            share of the largest value.
        versions: the libraries that wrote the bundle.
    """

    id: str
    source: str
    source_sha256: str
    layers: tuple[str, ...]
    slices: tuple[tuple[int, int], ...]
    pooling: str
    gem_p: float | None
    normalize: bool
    dim: int
    height: int
    width: int
    channels: int
    preprocess: str
    resize: str
    fit: str
    decode: str
    background: tuple[int, int, int]
    precision: str
    max_difference: float
    versions: dict[str, str]

    def __post_init__(self) -> None:
        for option, found, known in (
            ("pooling", self.pooling, POOLINGS),
            ("preprocess", self.preprocess, PREPROCESS_MODES),
            ("resize", self.resize, RESIZES),
            ("fit", self.fit, FITS),
            ("decode", self.decode, DECODES),
            ("precision", self.precision, PRECISIONS),
        ):
            check_choice(option, found, known)
        if self.decode == "fast" and self.resize == "nearest":
            raise InputError(
                "resize 'nearest' takes single pixels, and decode 'fast' leaves only averages of "
                "them; use decode 'exact', or another resize"
            )
        if self.preprocess in ("caffe", "torch") and self.channels != 3:
            raise InputError(
                f"preprocess {self.preprocess!r} is defined for RGB images only, but this network "
                f"takes {self.channels} channel(s); use 'unit', 'tf' or 'none'"
            )
        if self.channels not in (1, 3):
            raise InputError(
                f"the network takes images of {self.channels} channels; only grayscale (1) and "
                "RGB (3) inputs are supported"
            )

    def replace(self, **changes: Any) -> EncoderSpec:
        """A copy with other values."""
        return dataclasses.replace(self, **changes)

    def vector_settings(self) -> dict[str, Any]:
        """What decides the vectors besides the layers and weights up to the taps."""
        names = [
            *("pooling", "gem_p", "normalize", "height", "width", "channels"),
            *("preprocess", "resize", "fit", "background", "precision"),
        ]
        if self.decode != "exact":  # which was the only one once, and ids stay as they were
            names.append("decode")
        return {name: getattr(self, name) for name in names}

    def to_json(self) -> str:
        """The text of ``encoder.json``."""
        return json.dumps({"format": FORMAT, **dataclasses.asdict(self)}, indent=2) + "\n"

    @classmethod
    def from_json(cls, text: str | bytes) -> EncoderSpec:
        """Parse ``encoder.json``.

        Raises:
            InputError: the text is not that of an encoder bundle of this format.
        """
        try:
            values: dict[str, Any] = json.loads(text)
            found = values.pop("format")
        except (ValueError, KeyError, AttributeError, TypeError) as error:
            raise InputError("encoder.json is not the description of an encoder bundle") from error
        if found != FORMAT:
            raise InputError(f"encoder.json has format {found!r}; this version reads {FORMAT!r}")
        values.setdefault("decode", "exact")  # the only one there was when bundles didn't name it
        known = {field.name for field in dataclasses.fields(cls)}
        if set(values) != known:
            missing, unknown = sorted(known - set(values)), sorted(set(values) - known)
            raise InputError(f"encoder.json is damaged: missing {missing}, unknown {unknown}")
        try:
            values["layers"] = tuple(values["layers"])
            values["slices"] = tuple((start, stop) for start, stop in values["slices"])
            values["background"] = tuple(values["background"])
            return cls(**values)
        except TypeError as error:
            raise InputError(f"encoder.json is damaged: {error}") from error


def read_spec(folder: str | os.PathLike[str]) -> EncoderSpec:
    """What a bundle, in a local folder or at gs://, says of itself.

    Raises:
        InputError: the folder is no bundle.
    """
    path = join(normalize(folder), SPEC_FILE)
    store = store_for(path)
    if store.stat(path) is None:
        raise InputError(
            f"{os.fspath(folder)!r} is not an encoder bundle: it has no {SPEC_FILE}. Make one with "
            "'python -m encoder extract MODEL --output DIR'"
        )
    return EncoderSpec.from_json(store.read(path)[0])


def check_choice(option: str, found: object, known: tuple[str, ...]) -> None:
    """Raise InputError where an option has none of its known values."""
    if found not in known:
        raise InputError(f"{option} is {found!r}; expected one of {', '.join(known)}")
