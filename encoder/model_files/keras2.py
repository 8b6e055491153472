"""What Keras 2 left behind in configs: TensorFlow operations, and what Keras 3 reads otherwise.

A Keras 2 model in which ``x / 255`` or ``preprocess_input(x)`` was applied to a symbolic tensor has
layers of the classes TFOpLambda and SlicingOpLambda, which Keras 3 does not know. Each becomes a
TensorFlowOperation, which names one function of TensorFlow and its constants.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Iterator
from typing import Any

import keras

from encoder.errors import InputError

OPERATION_CLASSES = ("TFOpLambda", "SlicingOpLambda")
# What an operation may be: arithmetic on tensors. Nothing here can run code or touch files.
_MODULES = ("math", "nn", "linalg", "__operators__")
_FUNCTIONS = {
    *("cast", "clip_by_value", "concat", "expand_dims", "identity", "image.resize", "pad"),
    *("reshape", "squeeze", "stack", "tile", "transpose"),
}
# These inherit from Conv2D in Keras 2, whose late versions state settings of it without effect.
_FROM_CONV2D = (
    "Transpose",
    *(f"{kind}Conv{rank}D" for kind in ("Depthwise", "Separable") for rank in "12"),
)
_TENSOR = "__tensor__"
_CONSTANT = "_CONSTANT_VALUE"  # stands in place of a layer's name
_OPERATION_PREFIX = "operation>"


@keras.saving.register_keras_serializable(package="encoder")
class TensorFlowOperation(keras.layers.Layer):  # type: ignore[misc]
    """One call of a function of TensorFlow, as Keras 2 recorded it.

    Args:
        function: such as "math.truediv".
        arguments: JSON of [first argument, {name: argument}]; {"__tensor__": i} stands for the
            i-th input. It is text because Keras takes {"class_name": ...} for an object.
    """

    def __init__(self, function: str, arguments: str, **options: Any) -> None:
        super().__init__(**options)
        _check_function(function, self.name)
        self.function = function
        self.arguments = arguments

    def call(self, inputs: Any) -> Any:
        tf = _tensorflow(self.name)
        tensors = inputs if isinstance(inputs, list | tuple) else [inputs]
        first, options = _with_tensors(json.loads(self.arguments), tensors)
        if self.function == "__operators__.getitem":
            return first[tuple(_slice(each) for each in options["slice_spec"])]
        function: Any = tf
        for part in self.function.removeprefix("__operators__.").split("."):
            function = getattr(function if hasattr(function, part) else tf.math, part)
        options.pop("name", None)
        return function(first, **options)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "function": self.function, "arguments": self.arguments}


def _tensorflow(layer: str) -> Any:
    """TensorFlow, which must be Keras's backend where its operations are among the layers."""
    if keras.backend.backend() != "tensorflow":
        raise InputError(
            f"layer {layer!r} is an operation of TensorFlow, from a file of Keras 2; KERAS_BACKEND "
            f"is {keras.backend.backend()!r}, which can't compute it. Use 'tensorflow'"
        )
    import tensorflow

    return tensorflow


def _check_function(function: str, layer: str) -> None:
    if function not in _FUNCTIONS and function.rpartition(".")[0] not in _MODULES:
        raise InputError(
            f"layer {layer!r} calls tf.{function}, which is not among the operations that can be "
            "taken over from a Keras 2 file"
        )


def modernize(config: Any) -> bool:
    """Bring a Keras 2 model config to what Keras 3 can read, in place; gives whether it had to.

    Besides the operations, three things keep Keras 3.15 from reading nested models of Keras 2: the
    calls of a nested model were counted from 1 and are now counted from 0, and its one output, as
    well as the axis of a BatchNormalization, stood in a list.
    """
    changed = False
    values = (config or {}).get("config") if isinstance(config, dict) else None
    if not isinstance(values, dict) or not isinstance(values.get("layers"), list):
        return False
    layers = values["layers"]
    for layer in layers:
        changed = modernize(layer) or _modern_config(layer) or changed
    if "output_layers" not in values or any(
        isinstance(node, dict) for layer in layers for node in layer.get("inbound_nodes", [])
    ):
        return changed  # a Sequential model, or one that Keras 3 wrote
    models = {layer["name"] for layer in layers if _counts_from_one(layer)}
    sequential = {layer["name"] for layer in layers if layer["class_name"] == "Sequential"}
    for layer in layers:
        if layer["class_name"] in OPERATION_CLASSES:
            _rewrite(layer)
        for reference in _references(layer["inbound_nodes"]):
            if reference[0] in models:
                reference[1] -= 1
    for reference in _references(values["output_layers"]):
        if reference[0] in models & sequential:  # Keras 3 does it for functional ones
            reference[1] -= 1
    for key in ("input_layers", "output_layers"):
        if len(values[key]) == 1 and isinstance(values[key][0], list):
            (values[key],) = values[key]
    return True


def name_operations(config: Any) -> bool:
    """Tell Keras 3's operations from layers in an .h5 file, in place; gives whether it had to.

    Keras 3 writes ``x + 1`` into an .h5 file as a layer of the class "Add", and can't read it.
    """
    values = (config or {}).get("config") if isinstance(config, dict) else None
    if not isinstance(values, dict) or not isinstance(values.get("layers"), list):
        return False
    changed = False
    for layer in values["layers"]:
        changed = name_operations(layer) or changed
        kind = layer["class_name"]
        is_layer = "trainable" in layer["config"]  # which operations do not state
        if kind in operation_classes() and not is_layer:
            layer["class_name"] = _OPERATION_PREFIX + kind
            changed = True
        if kind == "GetItem":
            for node in layer["inbound_nodes"]:
                _spell_out_ellipsis(node["args"])
    return changed


def _spell_out_ellipsis(arguments: list[Any]) -> None:
    """``x[..., 0]`` as ``x[:, :, :, 0]``: Keras can't read the ``...`` that it writes to .h5."""
    tensor, key = arguments[:2]
    if isinstance(key, list) and any(_is_ellipsis(part) for part in key):
        rank = len(tensor["config"]["shape"])
        everything = {"class_name": "__slice__", "config": dict.fromkeys(("start", "stop", "step"))}
        place = next(i for i, part in enumerate(key) if _is_ellipsis(part))
        key[place : place + 1] = [everything] * (rank - len(key) + 1)


def _is_ellipsis(part: Any) -> bool:
    return isinstance(part, dict) and part.get("class_name") == "__ellipsis__"


def operation_objects() -> dict[str, Any]:
    """What Keras has to be told to read a config after name_operations."""
    return {_OPERATION_PREFIX + name: found for name, found in operation_classes().items()}


@functools.cache
def operation_classes() -> dict[str, Any]:
    """Keras' own operations by class name."""
    from keras.src import ops

    modules = (ops.core, ops.image, ops.linalg, ops.math, ops.nn, ops.numpy)
    return {
        name: found
        for module in modules
        for name, found in vars(module).items()
        if isinstance(found, type) and issubclass(found, keras.Operation)
    }


def _modern_config(layer: dict[str, Any]) -> bool:
    """One layer's settings as Keras 3 takes them; also of a layer inside a wrapper."""
    config = layer.get("config")
    if not isinstance(config, dict):
        return False
    changed = "layer" in config and _modern_config(config["layer"])
    axis = config.get("axis")
    if isinstance(axis, list) and len(axis) == 1:
        (config["axis"],) = axis
        changed = True
    elif isinstance(axis, list):
        raise InputError(
            f"layer {config.get('name')!r} works on the axes {axis}, which Keras 3 silently "
            "forgets when it reads an .h5 file; save the model as .keras instead"
        )
    if str(layer["class_name"]).endswith(_FROM_CONV2D):
        changed = config.pop("groups", None) is not None or changed
        if not layer["class_name"].endswith("Transpose"):
            for setting in ("kernel_initializer", "kernel_regularizer", "kernel_constraint"):
                changed = config.pop(setting, None) is not None or changed
    return changed


def _counts_from_one(layer: dict[str, Any]) -> bool:
    if layer["class_name"] == "Sequential":
        inner = layer["config"].get("layers") or [{}]
        return bool(inner[0].get("class_name") == "InputLayer")
    return layer["class_name"] in ("Functional", "Model")


def _references(value: Any) -> Iterator[list[Any]]:
    if _is_reference(value):
        yield value
    elif isinstance(value, list):
        for inner in value:
            yield from _references(inner)


def _rewrite(layer: dict[str, Any]) -> None:
    """One layer's config: constants move from its node, where Keras 2 has them, into its own."""
    (node,) = layer["inbound_nodes"]
    tensors: list[list[Any]] = []

    def placed(reference: list[Any]) -> Any:
        if reference[0] == _CONSTANT:
            return reference[2]
        tensors.append([*reference[:3], {}])
        return {_TENSOR: len(tensors) - 1}

    is_list = isinstance(node[0], list)  # the first argument is a list of tensors
    first = [placed(each) for each in node] if is_list else placed(node)
    stated = (node[0] if is_list else node)[3:] or [{}]
    options = {
        key: placed(value) if _is_reference(value) else value for key, value in stated[0].items()
    }
    config = layer["config"]
    _check_function(config["function"], config["name"])
    layer["class_name"] = f"encoder>{TensorFlowOperation.__name__}"
    layer["config"] = {
        "name": config["name"],
        "dtype": config.get("dtype", "float32"),
        "function": config["function"],
        "arguments": json.dumps([first, options], sort_keys=True),
    }
    layer["inbound_nodes"] = [tensors]


def _is_reference(value: Any) -> bool:
    """["layer name", node index, tensor index], as Keras 2 refers to a tensor."""
    return (
        isinstance(value, list)
        and len(value) in (3, 4)
        and isinstance(value[0], str)
        and all(isinstance(each, int) for each in value[1:3])
    )


def _with_tensors(value: Any, tensors: Any) -> Any:
    if isinstance(value, dict) and set(value) == {_TENSOR}:
        return tensors[value[_TENSOR]]
    if isinstance(value, dict):
        return {key: _with_tensors(inner, tensors) for key, inner in value.items()}
    if isinstance(value, list):
        return [_with_tensors(inner, tensors) for inner in value]
    return value


def _slice(spec: Any) -> Any:
    if _is_ellipsis(spec):
        return Ellipsis
    if isinstance(spec, dict):
        return slice(spec.get("start"), spec.get("stop"), spec.get("step"))
    return spec
