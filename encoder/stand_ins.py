"""Stand-ins for layers and models of a file whose own code is not loaded.

A hidden layer keeps the place of a layer in the graph, so that the order of the others, in which
files list their weights, stays. It computes nothing. A model of a custom class that is a graph of
layers is taken as that graph.
"""

from __future__ import annotations

import re

import keras

WAY_ON = (
    "If it is a class or function of yours, name the module that defines it: --custom-objects "
    "MODULE (custom_objects=[...]). If you trust the file, allow all its code with --trust "
    "(trust=True), with the modules of custom classes where Python finds them"
)


MOST_OUTPUTS = 1000


class HiddenLayer(keras.layers.Layer):  # type: ignore[misc]
    """Takes the place of a layer that is not loaded.

    Args:
        reason: what the layer needs, such as "a Lambda"; "" for a layer behind such a one.
        outputs: how many tensors it gives.

    Raises:
        ValueError: there are too many outputs, which a hostile file may state.
    """

    def __init__(self, reason: str, outputs: int, **options: object) -> None:
        super().__init__(**options)
        if not 1 <= outputs <= MOST_OUTPUTS:
            raise ValueError(f"a layer can't have {outputs} outputs")
        self.reason = reason
        self.count = outputs

    def call(self, inputs: object) -> object:
        """Return zeros, from which nothing is computed but other hidden layers."""
        outputs = [keras.ops.zeros((1, 1)) for _ in range(self.count)]
        return outputs if len(outputs) > 1 else outputs[0]

    def compute_output_spec(self, inputs: object) -> object:
        """Return one symbolic tensor for each output."""
        outputs = [keras.KerasTensor((None, 1)) for _ in range(self.count)]
        return outputs if len(outputs) > 1 else outputs[0]

    def load_own_variables(self, store: object) -> None:
        """Leave the weights of the hidden layer in the file."""


def is_stand_in(class_name: object) -> bool:
    """Whether a class name in a config is that of a stand-in, such as "encoder>Hidden:Dense"."""
    return isinstance(class_name, str) and _NAME.fullmatch(class_name) is not None


def stand_in_class(class_name: str) -> type:
    """The class for a stand-in's name in a config; its own name is that of the class it replaces.

    Keras numbers the layers in a .keras file by the names of their classes.
    """
    prefix, _, name = class_name.partition(":")
    return type(name, (_BASES[f"{prefix}:"],), {})


# What stands in for a class, by what its name in a config begins with.
HIDDEN, FUNCTIONAL, SEQUENTIAL = "encoder>Hidden:", "encoder>Functional:", "encoder>Sequential:"
_NAME = re.compile(r"encoder>(?:Hidden|Functional|Sequential):\w{1,100}", re.ASCII)
_BASES = {HIDDEN: HiddenLayer, FUNCTIONAL: keras.Model, SEQUENTIAL: keras.Sequential}
