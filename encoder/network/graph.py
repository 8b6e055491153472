"""A trained Keras model as a flat list of steps, whatever it was built from.

Functional models, Sequential models and models nested in either become one list, in the order in
which Keras runs them. Only this module reads the nodes of Keras' private graph
(``keras.src.ops.function.Function``).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

import keras

from encoder.errors import InputError
from encoder.stand_ins import HiddenLayer

if TYPE_CHECKING:
    from keras.src.ops.function import Function
    from keras.src.ops.node import Node

Arguments: TypeAlias = tuple[tuple[object, ...], dict[str, object]]  # by position, by name

# Height and width in pixels that stand in for an open input size when sizes are compared.
_PROBE_SIZE = (256, 256)
CHANNELS_FIRST = "channels_first"
CHANNELS_LAST_ADVICE = (
    "in the script that builds the network, set data_format='channels_last' (for all layers: "
    "keras.config.set_image_data_format('channels_last')), give BatchNormalization and Concatenate "
    "the axis -1 and the input the shape (height, width, channels). Then call "
    "new.set_weights(old.get_weights()), which fits: kernels are stored alike in both formats. "
    "Save that"
)


class Step(NamedTuple):
    """One use of one layer.

    Attributes:
        name: the layer's name; "outer/inner" inside a nested model; with ":2" for the second use
            of a layer that is used several times.
        layer: the Keras layer or operation.
        place: the layer's index in ``model.layers``; None inside a nested model.
        call: how many times the whole model calls the layer before this use.
        inputs: the symbolic tensors that the layer takes.
        outputs: the symbolic tensors that the layer returns.
        arguments: the arguments of the call, with None in place of tensors; None for inputs.
        is_input: whether it is an input of the whole model.
        is_model: whether it is a nested model, whose layers are steps of their own.
    """

    name: str
    layer: keras.Operation
    place: int | None
    call: int
    inputs: tuple[keras.KerasTensor, ...]
    outputs: tuple[keras.KerasTensor, ...]
    arguments: Arguments | None
    is_input: bool
    is_model: bool

    @property
    def output(self) -> keras.KerasTensor:
        """The first output."""
        return self.outputs[0]

    @property
    def shape(self) -> tuple[int | None, ...]:
        """The shape of the first output, with None for the batch and for open sizes."""
        return tuple(self.output.shape)


class LeftOut(NamedTuple):
    """A use of a hidden layer (see encoder.stand_ins).

    Attributes:
        name: the layer's name, as in Step.
        reason: what it needs, such as "a Lambda"; "" for a layer behind such a one.
        inputs: the symbolic tensors that it takes, as far as they are not left out, too.
    """

    name: str
    reason: str
    inputs: tuple[keras.KerasTensor, ...]


class Graph(NamedTuple):
    """The part of a model that depends on one image input alone.

    Attributes:
        model: the model.
        input: the symbolic tensor of the image.
        steps: the uses of layers, in the order in which they run.
        unreachable: names of the layers that need other inputs, too.
        left_out: the uses of hidden layers.
    """

    model: keras.Model
    input: keras.KerasTensor
    steps: list[Step]
    unreachable: list[str]
    left_out: list[LeftOut]

    @property
    def is_whole(self) -> bool:
        """Whether all of the model's layers are among the steps."""
        return not (self.unreachable or self.left_out)

    @property
    def layer_count(self) -> int:
        """The length of ``model.layers``."""
        return len(self.model.layers)

    @property
    def sized(self) -> Graph:
        """The same steps, with an assumed input size if the model leaves it open."""
        if None not in self.input.shape[1:3]:
            return self
        return trace(self.model, _PROBE_SIZE, self.input.name)


def trace(
    model: keras.Model, input_size: tuple[int, int] | None = None, input_name: str | None = None
) -> Graph:
    """List a model's steps.

    If the model contains other models, or an input size is given, this calls the layers once more
    on new symbolic tensors; the layers keep their weights, and the model keeps working.

    Args:
        model: a built functional or Sequential keras.Model.
        input_size: (height, width) in pixels, for a model that leaves them open.
        input_name: which input takes the image, for a model with several.

    Raises:
        InputError: the model has no graph of layers, its image input is not clear, or it does not
            take images of this size.
    """
    function = function_of(model)
    if function is None:
        raise InputError(
            f"the model {model.name!r} ({type(model).__name__}) has no graph of layers: it is a "
            "subclass of keras.Model with a call method of its own, or was never built. Build the "
            "same layers as a functional or Sequential model, load the weights into it "
            "(new.set_weights(old.get_weights())), and save that"
        )
    image = _image_input(function, input_name)
    _check_channels_last(function, image)
    if input_size is not None and any(
        fixed not in (None, wanted)
        for fixed, wanted in zip(image.shape[1:3], input_size, strict=True)
    ):
        raise InputError(
            f"the network takes images of {image.shape[1]}x{image.shape[2]} pixels only; leave "
            f"--input-size {input_size[0]}x{input_size[1]} out (images are brought to its size)"
        )
    if input_size == tuple(image.shape[1:3]):
        input_size = None
    nested = any(function_of(operation) for operation in function.operations)
    if not nested and input_size is None:
        new = image
        tensors = {id(tensor): tensor for node in _nodes(function) for tensor in node.outputs}
    else:
        size = input_size or image.shape[1:3]
        new = keras.Input((*size, image.shape[3]), dtype=image.dtype, name=image.name)
        tensors = None
    walk = _Walk({id(layer): index for index, layer in enumerate(model.layers)}, tensors)
    walk.follow(function, [new if tensor is image else None for tensor in function.inputs], "")
    return Graph(model, new, _numbered(walk.steps), walk.unreachable, walk.left_out)


def function_of(operation: keras.Operation) -> Function | None:
    """The graph of a functional or built Sequential model, else None."""
    if isinstance(operation, keras.Sequential):
        return getattr(operation, "_functional", None)
    if isinstance(operation, keras.Model) and hasattr(operation, "_nodes_by_depth"):
        return operation
    return None


def makers_of(graph: Graph, tensors: Iterable[keras.KerasTensor]) -> set[int]:
    """Ids (Python's) of the given tensors and of all tensors that they are computed from."""
    makers = {
        id(tensor): step for step in graph.steps if not step.is_model for tensor in step.outputs
    }
    needed: set[int] = set()
    waiting = list(tensors)
    while waiting:
        tensor = waiting.pop()
        if id(tensor) not in needed:
            needed.add(id(tensor))
            waiting.extend(makers[id(tensor)].inputs)
    return needed


def what_is_left_out(parts: Iterable[LeftOut]) -> str:
    """What a network was loaded without, as a phrase; "" if it is whole."""
    parts = list(parts)
    needing = [f"{each.name!r} ({each.reason})" for each in parts if each.reason]
    behind = len(parts) - len(needing)
    if not needing:
        return ""
    one = len(needing) == 1
    text = (
        f"the layer{'' if one else 's'} {', '.join(needing)}, which need{'s' if one else ''} code"
    )
    if behind:
        layers = "1 layer" if behind == 1 else f"{behind} layers"
        text += f", and without {layers} behind {'it' if one else 'them'}"
    return text


class _Walk:
    """Follows a model's nodes in the order of execution, into nested models too.

    `places` maps the id of a layer to its index. `tensors` maps the id of each symbolic tensor to
    the tensor; with None, layers are called again.
    """

    def __init__(
        self, places: dict[int, int], tensors: dict[int, keras.KerasTensor] | None
    ) -> None:
        self.steps: list[Step] = []
        self.unreachable: list[str] = []
        self.left_out: list[LeftOut] = []
        self._places = places
        self._tensors = tensors
        self._calls: Counter[int] = Counter()

    def follow(
        self, function: Function, inputs: list[keras.KerasTensor | None], prefix: str
    ) -> list[keras.KerasTensor | None]:
        """Append the steps of one model.

        Returns:
            The model's outputs, with None for those that need other inputs.
        """
        known = {id(old): new for old, new in zip(function.inputs, inputs, strict=True)}
        for node in _nodes(function):
            if node.is_input:
                if not prefix and known[id(node.outputs[0])] is not None:
                    self._append(node, prefix, (), (known[id(node.outputs[0])],), None, False)
                continue
            taken = tuple(known[id(tensor)] for tensor in node.input_tensors)
            outputs = self._visit(node, known, taken, prefix)
            known.update((id(old), new) for old, new in zip(node.outputs, outputs, strict=True))
        return [known[id(tensor)] for tensor in function.outputs]

    def _visit(
        self,
        node: Node,
        known: dict[int, keras.KerasTensor | None],
        taken: tuple[keras.KerasTensor | None, ...],
        prefix: str,
    ) -> list[keras.KerasTensor | None]:
        layer = node.operation
        inner = function_of(layer)
        outputs: list[keras.KerasTensor | None]
        if isinstance(layer, HiddenLayer):
            visible = tuple(tensor for tensor in taken if tensor is not None)
            self.left_out.append(LeftOut(prefix + layer.name, layer.reason, visible))
            self._calls[id(layer)] += 1
            return [None] * len(node.outputs)
        if inner is not None:
            outputs = self.follow(inner, list(taken), f"{prefix}{layer.name}/")
        elif any(tensor is None for tensor in taken):
            outputs = [None] * len(node.outputs)
        elif self._tensors is not None:
            outputs = [self._tensors[id(tensor)] for tensor in node.outputs]
        else:
            arguments, options = node.arguments.fill_in(known)
            try:
                outputs = list(keras.tree.flatten(layer(*arguments, **options)))
            except ValueError as error:
                shapes = ", ".join(
                    str(tuple(tensor.shape)) for tensor in taken if tensor is not None
                )
                raise InputError(
                    f"layer {prefix + layer.name!r} can't take {shapes}: {error}. If an "
                    "--input-size was given, the network does not work at that size"
                ) from error
        if any(output is None for output in outputs):
            self.unreachable.append(prefix + layer.name)
        else:
            recorded = _without_tensors((node.arguments.args, node.arguments.kwargs))
            self._append(node, prefix, taken, tuple(outputs), recorded, inner is not None)
        self._calls[id(layer)] += 1
        return outputs

    def _append(
        self,
        node: Node,
        prefix: str,
        inputs: tuple[keras.KerasTensor, ...],
        outputs: tuple[keras.KerasTensor, ...],
        arguments: Arguments | None,
        is_model: bool,
    ) -> None:
        layer = node.operation
        self.steps.append(
            Step(
                name=prefix + layer.name,
                layer=layer,
                place=None if prefix else self._places.get(id(layer)),
                call=self._calls[id(layer)],
                inputs=inputs,
                outputs=outputs,
                arguments=arguments,
                is_input=node.is_input,
                is_model=is_model,
            )
        )


def _image_input(function: Function, name: str | None) -> keras.KerasTensor:
    inputs = {tensor.name: tensor for tensor in function.inputs}
    listed = ", ".join(f"{key} {tuple(tensor.shape)}" for key, tensor in inputs.items())
    if name is None and len(inputs) > 1:
        raise InputError(
            f"the model has {len(inputs)} inputs ({listed}); say which one takes the image with "
            "--input NAME (input_name=...)"
        )
    if name is not None and name not in inputs:
        raise InputError(f"the model has no input {name!r}; it has {listed}")
    image = inputs[name] if name is not None else function.inputs[0]
    if len(image.shape) != 4:
        raise InputError(
            f"the model's input {image.name!r} has shape {tuple(image.shape)}; expected images "
            "(batch, height, width, channels)"
        )
    return image


def _check_channels_last(function: Function, image: keras.KerasTensor) -> None:
    """Refuse a network that takes images with their channels first; name its first such layer."""
    layer = next(_layers_with_channels_first(function.operations), None)
    first, last = image.shape[1], image.shape[3]
    if layer is None or first is None or (last is not None and last <= first):
        return
    raise InputError(
        f"the network takes images with their channels first, {tuple(image.shape[1:])}: layer "
        f"{layer.name!r} ({type(layer).__name__}) has data_format {CHANNELS_FIRST!r}; expected "
        f"(height, width, channels). To change it: {CHANNELS_LAST_ADVICE}"
    )


def _layers_with_channels_first(operations: Iterable[keras.Operation]) -> Iterator[keras.Operation]:
    for operation in operations:
        if isinstance(operation, keras.Model):
            yield from _layers_with_channels_first(operation.layers)
        elif getattr(operation, "data_format", None) == CHANNELS_FIRST:
            yield operation


def _numbered(steps: list[Step]) -> list[Step]:
    """The steps, with ":1", ":2" ... after the name of a layer that is used several times."""
    total = Counter(step.name for step in steps)
    seen: Counter[str] = Counter()
    result = []
    for step in steps:
        seen[step.name] += 1
        several = total[step.name] > 1
        result.append(step._replace(name=f"{step.name}:{seen[step.name]}") if several else step)
    return result


def _without_tensors(arguments: Arguments) -> Arguments:
    args, kwargs = keras.tree.map_structure(
        lambda value: None if keras.utils.is_keras_tensor(value) else value, arguments
    )
    return args, kwargs


def _nodes(function: Function) -> list[Node]:
    """A model's nodes in the order of execution."""
    by_depth = function._nodes_by_depth
    return [node for depth in sorted(by_depth, reverse=True) for node in by_depth[depth]]
