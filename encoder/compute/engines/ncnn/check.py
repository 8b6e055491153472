"""Check a compiled form before ncnn reads it, which trusts what the text says of the weights."""

from __future__ import annotations

from collections.abc import Callable

from encoder.errors import InputError

_MOST_LAYERS = 100_000

# How many floats follow for a layer, by its parameters; with a tag of four bytes before, or not.
_TAGGED: dict[str, Callable[[Callable[[int], int]], int]] = {
    **{
        kind: lambda number: number(6) + number(0) * number(5)
        for kind in ("Convolution", "ConvolutionDepthWise", "Deconvolution")
    },
    "InnerProduct": lambda number: number(2) + number(0) * number(1),
}
_PLAIN: dict[str, Callable[[Callable[[int], int]], int]] = {
    "GroupNorm": lambda number: 2 * number(1) * number(3),
    "LayerNorm": lambda number: 2 * number(0) * number(2),
    "PReLU": lambda number: number(0),
    "Scale": lambda number: number(0) * (1 + number(1)),
}
_WITHOUT_WEIGHTS = {
    *("BinaryOp", "Clip", "Concat", "Crop", "ELU", "Exp", "GELU", "HardSigmoid", "HardSwish"),
    *("Input", "Interp", "Mish", "Noop", "Padding", "Permute", "Pooling", "ReLU", "Reshape"),
    *("SELU", "Sigmoid", "Softmax", "Softplus", "Split", "Swish", "TanH"),
}


def check_form(param: bytes, weights: bytes) -> None:
    """Check that a form has the layers that this project writes, and as many weights as they need.

    Args:
        param, weights: the contents of the two files.

    Raises:
        InputError: it was not written by this project, or one of the files is cut short.
    """
    try:
        expected = _bytes_of_weights(param.decode("ascii"))
    except ValueError as error:
        raise InputError(
            f"the compiled form is none of this project's: {error}. Compute with --engine keras, "
            "or extract the encoder again"
        ) from error
    if expected != len(weights):
        raise InputError(
            f"the compiled form has {len(weights):,} bytes of weights; its layers need "
            f"{expected:,}. Compute with --engine keras, or extract the encoder again"
        )


def _bytes_of_weights(text: str) -> int:
    magic, counts, *lines = text.splitlines()
    layers, _ = (int(word) for word in counts.split())
    if magic != "7767517" or layers != len(lines) or layers > _MOST_LAYERS:
        raise ValueError(
            f"it begins with {magic[:40]!r} and {counts[:40]!r}, for {len(lines)} lines"
        )
    return sum(map(_bytes_of_layer, lines))


def _bytes_of_layer(line: str) -> int:
    kind, _, inputs, outputs, *words = line.split()
    values = dict(word.split("=", 1) for word in words[int(inputs) + int(outputs) :])

    def number(key: int) -> int:
        found = int(values.get(str(key), "0"))
        if found < 0:
            raise ValueError(f"{kind} has the parameter {key}={found}")
        return found

    if kind in _TAGGED:
        return 4 + 4 * _TAGGED[kind](number)
    if kind in _PLAIN:
        return 4 * _PLAIN[kind](number)
    if kind not in _WITHOUT_WEIGHTS:
        raise ValueError(f"it has a layer {kind[:40]!r}")
    return 0
