"""The spec of an encoder bundle: the contents of ``encoder.json``."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
import os
import re
from collections.abc import Mapping
from typing import Any, Literal, get_args

import msgspec

from encoder.errors import InputError
from encoder.storage.base import join
from encoder.storage.registry import normalize, store_for
from encoder.strict_json import parse_json

MODEL_FILE = "encoder.keras"
SPEC_FILE = "encoder.json"
FORMAT = "encoder-bundle/1"

Pooling = Literal["gap", "max", "gem", "flatten"]
PreprocessMode = Literal["caffe", "tf", "torch", "unit", "none"]
Resize = Literal["bilinear", "nearest", "box", "hamming", "bicubic", "lanczos"]
Fit = Literal["stretch", "crop", "pad"]
Decode = Literal["exact", "fast"]
Precision = Literal["float32", "bfloat16", "float16", "tf32"]
EngineName = Literal["auto", "keras", "ncnn"]

POOLINGS: tuple[Pooling, ...] = get_args(Pooling)
PREPROCESS_MODES: tuple[PreprocessMode, ...] = get_args(PreprocessMode)
RESIZES: tuple[Resize, ...] = get_args(Resize)
FITS: tuple[Fit, ...] = get_args(Fit)
DECODES: tuple[Decode, ...] = get_args(Decode)
PRECISIONS: tuple[Precision, ...] = get_args(Precision)
ENGINES: tuple[EngineName, ...] = get_args(EngineName)  # no part of a spec: load takes it
CHANNELS = (1, 3, 4)
SEAL = "files_sha256"  # key of encoder.json: see seal
COMPILED = "compiled"  # key of encoder.json: see encoder.compute.engines.ncnn.form
_MOST_BYTES = 16 << 20  # of encoder.json
_MOST_DIM = 1 << 24
_MOST_PIXELS = 1 << 16  # of a side of the input
_AT_ONCE = 16 << 20  # bytes of encoder.keras
_ID = re.compile(r"[0-9a-f]{16}")
_SHA256 = re.compile(r"[0-9a-f]{64}")
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
        height, width, channels: shape of the uint8 images that the encoder takes, in pixels. One
            channel is gray, three are RGB, four are RGB and the fourth channel as it is stored.
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
        if self.channels not in CHANNELS:
            raise InputError(
                f"the network takes images of {self.channels} channels; expected 1 (gray), 3 (RGB) "
                "or 4 (RGB and one more, such as alpha or near infrared), as image files have. For "
                "other arrays, cut the network with encoder.get_encoder(model, layer), and call it "
                "in your own script"
            )
        self._check_numbers()

    def _check_numbers(self) -> None:
        for field, found, most in (
            ("dim", self.dim, _MOST_DIM),
            ("height", self.height, _MOST_PIXELS),
            ("width", self.width, _MOST_PIXELS),
        ):
            if not 1 <= found <= most:
                raise InputError(f"{field} is {found}; expected 1 to {most:,}")
        if self.pooling == "gem" and not (self.gem_p and self.gem_p > 0):
            raise InputError(f"gem_p is {self.gem_p}; expected a number above 0")
        if not all(0 <= value <= 255 for value in self.background):
            raise InputError(f"background is {self.background}; expected three numbers, 0 to 255")
        if not (math.isfinite(self.max_difference) and self.max_difference >= 0):
            raise InputError(f"max_difference is {self.max_difference}; expected 0 or more")
        starts = (0, *(stop for _, stop in self.slices))
        ends = (*(start for start, _ in self.slices), self.dim)
        if starts != ends or any(start >= stop for start, stop in self.slices):
            raise InputError(
                f"slices is {self.slices}; expected ranges that follow each other, from 0 to "
                f"{self.dim} (dim)"
            )
        if len(self.slices) != len(self.layers):
            raise InputError(f"layers has {len(self.layers)} names, slices {len(self.slices)}")

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
        """The spec as JSON, as parts hold it; ``encoder.json`` has a seal besides, see seal."""
        return json.dumps({"format": FORMAT, **dataclasses.asdict(self)}, indent=2) + "\n"

    @classmethod
    def from_json(cls, text: str | bytes, what: str = SPEC_FILE) -> EncoderSpec:
        """Parse the text of to_json.

        Args:
            text: the text.
            what: where it is from, for errors.

        Raises:
            InputError: the text is no bundle description of this format, a field is missing or
                unknown, or a value has the wrong type or is not allowed.
        """
        return cls.from_values(_parsed(text, what), what)

    @classmethod
    def from_values(cls, values: Mapping[str, object], what: str = SPEC_FILE) -> EncoderSpec:
        """Like from_json, from the parsed text, which may have a seal and a compiled form."""
        plain = {"decode": "exact", **values}  # bundles from before "decode" existed lack it
        if "format" not in plain:
            raise InputError(f"{what} is not the description of an encoder bundle")
        found = plain.pop("format")
        for key in (SEAL, COMPILED):
            plain.pop(key, None)
        if found != FORMAT:
            raise InputError(f"{what} has format {found!r}; this version reads {FORMAT!r}")
        known = {field.name for field in dataclasses.fields(cls)}
        if set(plain) != known:
            missing, unknown = sorted(known - set(plain)), sorted(set(plain) - known)
            raise InputError(f"{what} is damaged: missing {missing}, unknown {unknown}")
        gem_p, normalized = plain["gem_p"], plain["normalize"]
        if normalized in (0, 1):  # earlier versions wrote 1 for true if a caller passed 1
            plain["normalize"] = bool(normalized)
        try:
            for option, choices in _CHOICES.items():
                if isinstance(plain[option], str):  # msgspec's message would not list the choices
                    check_choice(option, plain[option], choices)
            spec = msgspec.convert(plain, cls)
            check_id(spec.id, "the id is")
        except (InputError, msgspec.ValidationError, RecursionError) as error:
            own = error.__cause__  # from __post_init__
            reason = own if isinstance(own, InputError) else error
            raise InputError(f"{what} is damaged: {reason}") from error
        # The id is made of the values as they were written: 3 and 3.0 have different ids.
        return spec.replace(gem_p=gem_p, normalize=normalized)


def read_spec(folder: str | os.PathLike[str]) -> EncoderSpec:
    """Read the spec of a bundle in a local folder or at gs://.

    Raises:
        InputError: the folder is no bundle, or its encoder.json is damaged.
    """
    return EncoderSpec.from_values(*read_values(folder))


def check_seal(folder: str | os.PathLike[str]) -> bool:
    """Check that the files of a bundle are those that were written together, without Keras.

    It finds damage and files that were mixed up. Whoever changes a bundle on purpose can seal it
    again: only loading it shows that the model has the id.

    Returns:
        Whether encoder.json has a seal; earlier versions wrote none.

    Raises:
        InputError: the folder is no whole bundle, or one of its files was changed.
    """
    values, what = read_values(folder)
    model = join(normalize(folder), MODEL_FILE)
    if store_for(model).stat(model) is None:
        raise InputError(f"{os.fspath(folder)!r} is not a whole encoder bundle: no {MODEL_FILE}")
    expected = values.pop(SEAL, None)
    if expected is None:
        return False
    if not (isinstance(expected, str) and _SHA256.fullmatch(expected)):
        raise InputError(f"{what} is damaged: {SEAL} is {expected!r}; expected 64 hex digits")
    if _digest(values, model) != expected:
        raise InputError(
            f"{model} and {SPEC_FILE} do not belong together: one of them was changed after the "
            f"bundle was written ({SEAL} differs); extract the encoder again"
        )
    return True


def seal(spec: EncoderSpec, model: str, compiled: Mapping[str, object] | None = None) -> str:
    """The text of ``encoder.json``: the spec, and a digest of it and of ``encoder.keras``.

    Args:
        spec: the encoder's spec.
        model: path of the bundle's encoder.keras.
        compiled: the value of COMPILED.
    """
    values = _parsed(spec.to_json(), SPEC_FILE)
    if compiled is not None:
        values[COMPILED] = compiled
    return json.dumps({**values, SEAL: _digest(values, model)}, indent=2) + "\n"


def _digest(values: Mapping[str, object], model: str) -> str:
    """The SHA-256 of the values of encoder.json and of the file encoder.keras, in hex."""
    digest = hashlib.sha256(json.dumps(values, sort_keys=True).encode() + b"\n")
    with store_for(model).open(model) as file:
        while data := file.read(_AT_ONCE):
            digest.update(data)
    return digest.hexdigest()


def read_values(folder: str | os.PathLike[str]) -> tuple[dict[str, object], str]:
    """The values in a bundle's encoder.json, and the file's path.

    Raises:
        InputError: the folder is no bundle, or its encoder.json is no such file.
    """
    path = join(normalize(folder), SPEC_FILE)
    store = store_for(path)
    info = store.stat(path)
    if info is None:
        raise InputError(
            f"{os.fspath(folder)!r} is not an encoder bundle: it has no {SPEC_FILE}. Make one with "
            "'python -m encoder extract MODEL --output DIR'"
        )
    if info.bytes > _MOST_BYTES:
        raise InputError(
            f"{path} is not the description of an encoder bundle: it has {info.bytes:,} bytes"
        )
    return _parsed(store.read(path)[0], path), path


def _parsed(text: str | bytes, what: str) -> dict[str, object]:
    try:
        values = parse_json(text)
    except ValueError as error:
        raise InputError(
            f"{what} is not the description of an encoder bundle: it {error}"
        ) from error
    if not isinstance(values, dict):
        raise InputError(
            f"{what} is not the description of an encoder bundle: expected an object, found "
            f"{type(values).__name__}"
        )
    return values


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
