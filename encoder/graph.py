"""A trained Keras model as a flat list of steps, whatever it was built from.

Functional models, Sequential models and models nested in either all become one list, in the
order in which data flows. This module alone touches Keras' private graph (the nodes of
``keras.src.ops.function.Function``).
"""

from __future__ import annotations

from typing import Any, NamedTuple

import keras

from encoder.errors import InputError


class Step(NamedTuple):
    """One use of one layer.

    Attributes:
        name: the layer's name; for a layer inside a nested model "outer/inner".
        layer: the Keras layer or operation.
        place: its index in ``model.layers``; None inside a nested model.
        inputs: the symbolic tensors it takes.
        outputs: the symbolic tensors it gives.
        arguments: everything it was called with; in place of tensors stands None.
        is_input: whether it is an input of the whole model.
        is_model: whether it is a nested model, whose layers are steps of their own.
    """

    name: str
    layer: Any
    place: int | None
    inputs: tuple[Any, ...]
    outputs: tuple[Any, ...]
    arguments: Any
    is_input: bool
    is_model: bool

    @property
    def output(self) -> Any:
        """The first of the tensors it gives."""
        return self.outputs[0]

    @property
    def shape(self) -> tuple[int | None, ...]:
        """Of the first output, with None for the batch and for what is not fixed."""
        return tuple(self.output.shape)


class Graph(NamedTuple):
    """A model's steps in the order of the data, and the symbolic tensor of its image input."""

    input: Any
    steps: list[Step]
    layer_count: int


def trace(model: Any, input_size: tuple[int, int] | None = None) -> Graph:
    """Lay a model out as steps.

    Where the model holds other models, or an input size is given, its layers are called once more
    on new symbolic tensors; they keep their weights, and the model keeps working.

    Args:
        model: a built functional or Sequential keras.Model with one input.
        input_size: (height, width) in pixels, for a model that leaves them open.

    Raises:
        InputError: the model has no layer graph, or not exactly one image input.
    """
    function = _function(model)
    if function is None:
        raise InputError(
            f"the model {model.name!r} is a {type(model).__name__} without a graph of layers (a "
            "subclassed or unbuilt model); build it as a functional or Sequential model first"
        )
    if len(function.inputs) != 1:
        names = ", ".join(tensor.name for tensor in function.inputs)
        raise InputError(f"the model has {len(function.inputs)} inputs ({names}); expected one")
    (image,) = function.inputs
    if len(image.shape) != 4:
        raise InputError(
            f"the model's input has shape {tuple(image.shape)}; expected images "
            "(batch, height, width, channels)"
        )
    nested = any(_function(operation) for operation in function.operations)
    if not nested and input_size is None:
        tensors = {id(tensor): tensor for node in _nodes(function) for tensor in node.outputs}
    else:
        size = input_size or image.shape[1:3]
        image = keras.Input((*size, image.shape[3]), dtype=image.dtype, name=image.name)
        tensors = None
    steps: list[Step] = []
    places = {id(layer): index for index, layer in enumerate(model.layers)}
    _walk(function, [image], "", places, tensors, steps)
    return Graph(image, steps, len(model.layers))


def _walk(
    function: Any,
    inputs: list[Any],
    prefix: str,
    places: dict[int, int],
    tensors: dict[int, Any] | None,
    steps: list[Step],
) -> list[Any]:
    """Append the steps of one model; give its outputs for these inputs."""
    known = {id(old): new for old, new in zip(function.inputs, inputs, strict=True)}
    for node in _nodes(function):
        layer = node.operation
        name, index = prefix + layer.name, places.get(id(layer))
        if node.is_input:
            if not prefix:
                output = known[id(node.outputs[0])]
                steps.append(Step(name, layer, index, (), (output,), None, True, False))
            continue
        inner = _function(layer)
        taken = tuple(known[id(tensor)] for tensor in node.input_tensors)
        if inner is not None:
            outputs = _walk(inner, list(taken), f"{name}/", {}, None, steps)
        elif tensors is not None:
            outputs = [tensors[id(tensor)] for tensor in node.outputs]
        else:
            outputs = _call(node, known)
        known.update((id(old), new) for old, new in zip(node.outputs, outputs, strict=True))
        arguments = _without_tensors((node.arguments.args, node.arguments.kwargs))
        steps.append(
            Step(name, layer, index, taken, tuple(outputs), arguments, False, inner is not None)
        )
    return [known[id(tensor)] for tensor in function.outputs]


def _call(node: Any, known: dict[int, Any]) -> list[Any]:
    arguments, options = node.arguments.fill_in(known)
    return list(keras.tree.flatten(node.operation(*arguments, **options)))


def _without_tensors(arguments: Any) -> Any:
    return keras.tree.map_structure(
        lambda value: None if keras.utils.is_keras_tensor(value) else value, arguments
    )


def _function(operation: Any) -> Any:
    """The graph of a functional or built Sequential model, else None."""
    if isinstance(operation, keras.Sequential):
        return getattr(operation, "_functional", None)
    if isinstance(operation, keras.Model) and hasattr(operation, "_nodes_by_depth"):
        return operation
    return None


def _nodes(function: Any) -> list[Any]:
    depths = sorted(function._nodes_by_depth, reverse=True)
    order = {id(operation): place for place, operation in enumerate(function.operations)}
    return [
        node
        for depth in depths
        for node in sorted(function._nodes_by_depth[depth], key=lambda n: order[id(n.operation)])
    ]
