"""The spec of an encoder bundle: the contents of ``encoder.json``."""

from __future__ import annotations

import dataclasses
import json
import os
import re
from typing import Any, Literal, get_args

import msgspec

from encoder.errors import InputError
from encoder.storage.base import join
from encoder.storage.registry import normalize, store_for

MODEL_FILE = "encoder.keras"
SPEC_FILE = "encoder.json"
FORMAT = "encoder-bundle/1"

Pooling = Literal["gap", "max", "gem", "flatten"]
PreprocessMode = Literal["caffe", "tf", "torch", "unit", "none"]
Resize = Literal["bilinear", "nearest", "box", "hamming", "bicubic", "lanczos"]
Fit = Literal["stretch", "crop", "pad"]
Decode = Literal["exact", "fast"]
Precision = Literal["float32", "bfloat16", "float16", "tf32"]

POOLINGS: tuple[Pooling, ...] = get_args(Pooling)
PREPROCESS_MODES: tuple[PreprocessMode, ...] = get_args(PreprocessMode)
RESIZES: tuple[Resize, ...] = get_args(Resize)
FITS: tuple[Fit, ...] = get_args(Fit)
DECODES: tuple[Decode, ...] = get_args(Decode)
PRECISIONS: tuple[Precision, ...] = get_args(Precision)
_ID = re.compile(r"[0-9a-f]{16}")
_CHOICES: dict[str, tuple[str, ...]] = {
    "pooling": POOLINGS,
    "preprocess": PREPROCESS_MODES,
    "resize": RESIZES,
    "fit": FITS,
    "decode": DECODES,
    "precision": PRECISIONS,
}


@dataclasses.dataclass(frozen=True)
class EncoderSpec:
    """All settings that affect an encoder's vectors, and the source of its weights.

    Attributes:
        id: 16 hex digits; encoders with equal ids give equal vectors for equal images.
        source: path or address of the trained model, as the user wrote it.
        source_sha256: SHA-256 of the trained model's content, in hex.
        layers: names of the tapped layers, in the order of the vector.
        slices: for each tapped layer, the [start, stop) of its values in the vector.
        pooling: one of POOLINGS.
        gem_p: the exponent of pooling "gem"; None for the others.
        normalize: whether vectors are scaled to unit length.
        dim: length of an embedding.
        height, width, channels: shape of the uint8 images that the encoder takes, in pixels.
        preprocess: one of PREPROCESS_MODES; computed inside the model call.
        resize, fit: how an image of another size is brought to height x width.
        decode: "exact", or "fast": large JPEGs are decoded at a half, a quarter or an eighth of
            their size, but never below twice the size that they are resized to.
        background: RGB colour (0-255) under transparent pixels and around padded images.
        precision: dtype that the layers compute in; embeddings are always float32. "tf32" is
            float32, but GPUs may multiply with only 10 bits of the fraction.
        max_difference: largest difference between the outputs of the trained network and of the
            cut, as a share of the largest value.
        versions: versions of Keras and its backend when the bundle was written.
    """

    id: str
    source: str
    source_sha256: str
    layers: tuple[str, ...]
    slices: tuple[tuple[int, int], ...]
    pooling: Pooling
    gem_p: float | None
    normalize: bool
    dim: int
    height: int
    width: int
    channels: int
    preprocess: PreprocessMode
    resize: Resize
    fit: Fit
    decode: Decode
    background: tuple[int, int, int]
    precision: Precision
    max_difference: float
    versions: dict[str, str]

    def __post_init__(self) -> None:
        for option, known in _CHOICES.items():
            check_choice(option, getattr(self, option), known)
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

    # Any: each field has its own type.
    def replace(self, **changes: Any) -> EncoderSpec:
        """A copy with the given fields changed."""
        return dataclasses.replace(self, **changes)

    def vector_settings(self) -> dict[str, object]:
        """The settings that affect the vectors, besides the layers and weights up to the taps."""
        names = [
            *("pooling", "gem_p", "normalize", "height", "width", "channels"),
            *("preprocess", "resize", "fit", "background", "precision"),
        ]
        if self.decode != "exact":  # so that ids from before "decode" existed stay valid
            names.append("decode")
        return {name: getattr(self, name) for name in names}

    def to_json(self) -> str:
        """The text of ``encoder.json``."""
        return json.dumps({"format": FORMAT, **dataclasses.asdict(self)}, indent=2) + "\n"

    @classmethod
    def from_json(cls, text: str | bytes) -> EncoderSpec:
        """Parse ``encoder.json``.

        Raises:
            InputError: the text is no bundle description of this format, a field is missing or
                unknown, or a value has the wrong type or is not allowed.
        """
        try:
            values = json.loads(text)
            found = values.pop("format")
        except (ValueError, KeyError, AttributeError, TypeError) as error:
            raise InputError("encoder.json is not the description of an encoder bundle") from error
        if found != FORMAT:
            raise InputError(f"encoder.json has format {found!r}; this version reads {FORMAT!r}")
        values.setdefault("decode", "exact")  # bundles from before "decode" existed lack it
        known = {field.name for field in dataclasses.fields(cls)}
        if set(values) != known:
            missing, unknown = sorted(known - set(values)), sorted(set(values) - known)
            raise InputError(f"encoder.json is damaged: missing {missing}, unknown {unknown}")
        for option, choices in _CHOICES.items():
            if isinstance(values[option], str):  # msgspec's message would not list the choices
                check_choice(option, values[option], choices)
        plain = dict(values)
        if values["normalize"] in (0, 1):  # earlier versions wrote 1 for true if a caller passed 1
            plain["normalize"] = bool(values["normalize"])
        try:
            spec = msgspec.convert(plain, cls)
        except msgspec.ValidationError as error:
            if isinstance(error.__cause__, InputError):  # from __post_init__
                raise error.__cause__ from None
            raise InputError(f"encoder.json is damaged: {error}") from error
        check_id(spec.id, "encoder.json has the id")
        # The id is made of the values as they were written: 3 and 3.0 have different ids.
        return spec.replace(gem_p=values["gem_p"], normalize=values["normalize"])


def read_spec(folder: str | os.PathLike[str]) -> EncoderSpec:
    """Read the spec of a bundle in a local folder or at gs://.

    Raises:
        InputError: the folder is no bundle, or its encoder.json is damaged.
    """
    path = join(normalize(folder), SPEC_FILE)
    store = store_for(path)
    if store.stat(path) is None:
        raise InputError(
            f"{os.fspath(folder)!r} is not an encoder bundle: it has no {SPEC_FILE}. Make one with "
            "'python -m encoder extract MODEL --output DIR'"
        )
    return EncoderSpec.from_json(store.read(path)[0])


def check_id(encoder_id: str, what: str) -> None:
    """Raise InputError unless an encoder's id is one: ids become parts of paths.

    Args:
        encoder_id: the id.
        what: where it is from, for the message.
    """
    if not _ID.fullmatch(encoder_id):
        raise InputError(f"{what} {encoder_id!r}; expected 16 of the digits 0-9 and a-f")


def check_choice(option: str, found: object, known: tuple[str, ...]) -> None:
    """Raise InputError if an option's value is none of the known ones."""
    if found not in known:
        raise InputError(f"{option} is {found!r}; expected one of {', '.join(known)}")
