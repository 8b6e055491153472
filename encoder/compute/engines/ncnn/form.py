"""What a bundle holds for ncnn: two files, and what ``encoder.json`` says of them."""

from __future__ import annotations

import dataclasses
import hashlib
import re
from collections.abc import Mapping

from encoder.errors import InputError
from encoder.spec import COMPILED

PARAM_FILE = "encoder.ncnn.param"
BIN_FILE = "encoder.ncnn.bin"
FORM_FILES = (PARAM_FILE, BIN_FILE)
INPUT = "image"
TOLERANCE = 1e-5  # the largest difference from the network's own vectors, see compile
_SHA256 = re.compile(r"[0-9a-f]{64}")


def output_name(number: int) -> str:
    """The name by which the feature map of a tap is read, counted from 0."""
    return f"tap{number}"


@dataclasses.dataclass(frozen=True)
class Form:
    """The compiled form of an encoder.

    Attributes:
        version: of ncnn, which proved it.
        sha256: of both files, one after the other, in hex.
        max_difference: the largest difference from the network's own vectors, as a share of a
            vector's largest value.
        large_kernels: the share of the multiplications that kernels of more than 3x3 do, in which
            ncnn is slower; see encoder.compute.engines.choice.
    """

    version: str
    sha256: str
    max_difference: float
    large_kernels: float

    def check(self, param: bytes, weights: bytes) -> None:
        """Raise InputError unless these are the files."""
        if digest(param, weights) != self.sha256:
            raise InputError(
                f"{PARAM_FILE} and {BIN_FILE} are not those that were written with the bundle: "
                "they were changed or damaged. Extract the encoder again, or compute with "
                "--engine keras"
            )


_FIELDS = {field.name for field in dataclasses.fields(Form)}


@dataclasses.dataclass(frozen=True)
class Refusal:
    """Why an encoder has no compiled form.

    Attributes:
        version: of ncnn.
        refused: the reason, with the layer's name.
    """

    version: str
    refused: str


def digest(param: bytes, weights: bytes) -> str:
    """The SHA-256 of both files, in hex."""
    found = hashlib.sha256(param)
    found.update(weights)
    return found.hexdigest()


def to_values(found: Form | Refusal) -> dict[str, object]:
    """The value of COMPILED in encoder.json."""
    return {"ncnn": dataclasses.asdict(found)}


def from_values(values: Mapping[str, object], what: str) -> Form | Refusal | None:
    """Read what to_values gave; None if the bundle was written before there were such forms.

    Args:
        values: of encoder.json.
        what: its path, for errors.

    Raises:
        InputError: it is damaged.
    """
    if COMPILED not in values:
        return None
    found = values[COMPILED]
    inner = found.get("ncnn") if isinstance(found, dict) else None
    try:
        if isinstance(inner, dict) and set(inner) == {"version", "refused"}:
            return Refusal(_text(inner["version"]), _text(inner["refused"]))
        if isinstance(inner, dict) and set(inner) == _FIELDS:
            numbers = (inner["max_difference"], inner["large_kernels"])
            form = Form(_text(inner["version"]), _text(inner["sha256"]), *numbers)
            is_near = 0 <= form.max_difference <= TOLERANCE and 0 <= form.large_kernels <= 1
            if _SHA256.fullmatch(form.sha256) and is_near:
                return form
    except TypeError:
        pass
    raise InputError(f"{what} is damaged: {COMPILED} is {found!r}")


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{value!r} is no text")
    return value
