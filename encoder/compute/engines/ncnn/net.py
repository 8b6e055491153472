"""A network in ncnn's form, layer by layer, and its two files.

The format is described in ncnn's documentation ("param and model file"): a text with one line per
layer, and the weights in the order of the layers.
"""

from __future__ import annotations

import dataclasses
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

ACTIVATION, ACTIVATION_VALUES = 9, 10  # keys of what a layer with a kernel computes on its output
_MAGIC = "7767517"
_SMALL = 3  # rows or columns of a kernel
_FLOAT32 = bytes(4)  # the tag before weights that may have other types
_ARRAY = -23300  # keys of parameters that are lists of numbers count down from here

Parameters: TypeAlias = "dict[int, int | float | list[float]]"


class Blob:
    """A tensor in the network.

    Attributes:
        name: unique in the network.
        shape: as Keras has it, without the batch: (height, width, channels), (length, channels) or
            (channels,). In ncnn the channels of three axes come first.
    """

    def __init__(self, name: str, shape: Sequence[int | None]) -> None:
        self.name = name
        self.shape = tuple(shape)


@dataclasses.dataclass
class Layer:
    """One line of the ``.param`` file, with its weights.

    Attributes:
        kind: ncnn's name of the layer's type.
        inputs, outputs: names of blobs.
        parameters: by ncnn's numbers.
        places: of its output, to which its kernel is applied.
        tagged: the weights before which ncnn expects a tag of their type.
        weights: the others, after them.
    """

    kind: str
    inputs: list[str]
    outputs: list[str]
    parameters: Parameters
    places: int = 1
    tagged: NDArray[np.float32] | None = None
    weights: list[NDArray[np.float32]] = dataclasses.field(default_factory=list)

    def line(self, number: int) -> str:
        """The layer's line; its name is its place."""
        values = " ".join(_parameter(key, value) for key, value in self.parameters.items())
        blobs = " ".join((*self.inputs, *self.outputs))
        return f"{self.kind} {number} {len(self.inputs)} {len(self.outputs)} {blobs} {values}"

    def data(self) -> bytes:
        """The layer's part of the ``.bin`` file."""
        first = b"" if self.tagged is None else _FLOAT32 + _floats(self.tagged)
        return first + b"".join(_floats(each) for each in self.weights)


class Net:
    """A network that grows.

    Attributes:
        layers: so far, in the order in which they run.
    """

    def __init__(self) -> None:
        self.layers: list[Layer] = []
        self._count = 0

    def add(
        self,
        kind: str,
        inputs: Sequence[Blob],
        shape: Sequence[int | None],
        parameters: Mapping[int, int | float | list[float]] | None = None,
        *,
        tagged: NDArray[np.floating] | None = None,
        weights: Sequence[NDArray[np.floating]] = (),
    ) -> Blob:
        """Append a layer with one output.

        Args:
            kind: ncnn's name of the layer's type.
            inputs: what it takes.
            shape: of the output, as Blob has it.
            parameters: by ncnn's numbers.
            tagged, weights: see Layer.
        """
        blob = Blob(f"b{self._count}", shape)
        self._count += 1
        self.layers.append(
            Layer(
                kind,
                [each.name for each in inputs],
                [blob.name],
                dict(parameters or {}),
                math.prod(int(side or 0) for side in shape[:-1]),
                None if tagged is None else np.asarray(tagged, np.float32),
                [np.asarray(each, np.float32) for each in weights],
            )
        )
        return blob

    def large_kernels(self) -> float:
        """The share of the multiplications that kernels with more than three rows or columns do."""
        work = {True: 0, False: 0}
        for layer in self.layers:
            if (kernel := layer.tagged) is not None:
                work[max(kernel.shape[2:], default=1) > _SMALL] += kernel.size * layer.places
        return work[True] / max(sum(work.values()), 1)

    def maker(self, blob: Blob) -> Layer:
        """The layer that makes a blob."""
        return next(each for each in reversed(self.layers) if blob.name in each.outputs)

    def files(self, outputs: Sequence[tuple[Blob, str]]) -> tuple[str, bytes]:
        """The texts of ``.param`` and ``.bin``.

        ncnn frees a blob once a layer has taken it; what several take is split before.

        Args:
            outputs: blobs to be read from outside, and the names to read them by. A blob may have
                several.
        """
        layers = [*self.layers, *(_reading(blob, name) for blob, name in outputs)]
        uses = Counter(name for layer in layers for name in layer.inputs)
        split: list[Layer] = []
        copies: dict[str, list[str]] = {}
        for layer in layers:
            inputs = [copies[name].pop(0) if name in copies else name for name in layer.inputs]
            split.append(dataclasses.replace(layer, inputs=inputs))
            for name in layer.outputs:
                if uses[name] > 1:
                    copies[name] = [f"{name}_{number}" for number in range(uses[name])]
                    split.append(Layer("Split", [name], list(copies[name]), {}))
        lines = [each.line(number) for number, each in enumerate(split)]
        blobs = sum(len(each.outputs) for each in split)
        param = "\n".join([_MAGIC, f"{len(split)} {blobs}", *lines]) + "\n"
        return param, b"".join(each.data() for each in split)


def _reading(blob: Blob, name: str) -> Layer:
    """A layer that gives a blob the name by which it is read."""
    return Layer("Noop", [blob.name], [name], {})


def _parameter(key: int, value: float | list[float]) -> str:
    if isinstance(value, list):
        return f"{_ARRAY - key}={','.join(str(each) for each in (len(value), *map(_text, value)))}"
    return f"{key}={_text(value)}"


def _text(value: float) -> str:
    """ncnn takes a number with a point or an exponent as a float, and one without as an integer."""
    return str(int(value)) if isinstance(value, int | np.integer) else f"{float(value):.9e}"


def _floats(values: NDArray[np.float32]) -> bytes:
    return np.ascontiguousarray(values, "<f4").tobytes()
