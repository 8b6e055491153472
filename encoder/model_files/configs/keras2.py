"""Rewrite configs of Keras 2 models, and of .h5 files, so that Keras 3 can read them.

A Keras 2 model in which ``x / 255`` or ``preprocess_input(x)`` was applied to a symbolic tensor has
layers of the classes TFOpLambda and SlicingOpLambda, which Keras 3 lacks. Each becomes a
TensorFlowOperation, which names one function of TensorFlow and its constants.
"""

from __future__ import annotations

import functools
import importlib
import inspect
import json
from collections.abc import Iterator
from typing import Any, TypeAlias, TypeGuard

import keras

from encoder.errors import InputError
from encoder.model_files.configs.keras2_layers import Config
from encoder.model_files.converter import APPLICATION_LAYERS

# A tensor in a config of Keras 2: [layer name, node index, tensor index, perhaps more].
# Any: names, numbers, and the arguments of calls.
_Reference: TypeAlias = list[Any]

OPERATION_CLASSES = ("TFOpLambda", "SlicingOpLambda")
# The operations that are allowed: arithmetic on tensors. None can run code or open files.
_MODULES = ("math", "nn", "linalg")
_OPERATORS = "__operators__"
_FUNCTIONS = {
    *(f"{_OPERATORS}.{name}" for name in ("add", "eq", "getitem", "ne")),
    *("cast", "clip_by_value", "concat", "expand_dims", "identity", "image.resize", "pad"),
    *("reshape", "squeeze", "stack", "tile", "transpose"),
}
# These inherit from Conv2D in Keras 2. Its late versions write Conv2D settings that they ignore.
_FROM_CONV2D = (
    "Transpose",
    *(f"{kind}Conv{rank}D" for kind in ("Depthwise", "Separable") for rank in "12"),
)
_RECURRENT = ("Bidirectional", "ConvLSTM2D", "GRU", "LSTM", "RNN", "SimpleRNN")
_TENSOR = "__tensor__"
CONSTANT = "_CONSTANT_VALUE"  # takes the place of a layer's name
_OPERATION_PREFIX = "operation>"


@keras.saving.register_keras_serializable(package="encoder")
class TensorFlowOperation(keras.layers.Layer):  # type: ignore[misc]
    """One call of a TensorFlow function, as Keras 2 recorded it.

    Args:
        function: name of the function, such as "math.truediv".
        arguments: JSON of [first argument, {name: argument}]; {"__tensor__": i} stands for the
            i-th input. It is a string because Keras would make an object of {"class_name": ...}.
        autocast: whether inputs are first cast to the layer's dtype.

    Raises:
        InputError: the function is not allowed, or (in a call) Keras does not use TensorFlow.
    """

    def __init__(
        self, function: str, arguments: str, autocast: bool = True, **options: object
    ) -> None:
        super().__init__(autocast=autocast, **options)
        _check_function(function, self.name)
        self.function = function
        self.arguments = arguments

    def call(self, inputs: keras.KerasTensor | list[keras.KerasTensor]) -> keras.KerasTensor:
        _check_backend(self.name)
        import tensorflow as tf

        tensors = inputs if isinstance(inputs, list | tuple) else [inputs]

        def with_tensor(value: Config) -> object:
            return tensors[value[_TENSOR]] if set(value) == {_TENSOR} else value

        first, options = json.loads(self.arguments, object_hook=with_tensor)
        if self.function == f"{_OPERATORS}.getitem":
            return first[tuple(_slice(each) for each in options["slice_spec"])]
        function = functools.reduce(getattr, self.function.split("."), tf)
        if not inspect.isfunction(function):  # tf.linalg and tf.nn have classes too
            raise _refused(self.function, self.name)
        options.pop("name", None)
        return function(first, **options)

    def get_config(self) -> dict[str, object]:
        return {
            **super().get_config(),
            "function": self.function,
            "arguments": self.arguments,
            "autocast": self.autocast,
        }


def _check_backend(layer: str) -> None:
    if keras.backend.backend() != "tensorflow":
        raise InputError(
            f"layer {layer!r} is an operation of TensorFlow, from a file of Keras 2; KERAS_BACKEND "
            f"is {keras.backend.backend()!r}, which can't compute it. Use 'tensorflow'"
        )


def _check_function(function: str, layer: str) -> None:
    if not is_allowed(function):
        raise _refused(function, layer)


def _refused(function: object, layer: str) -> InputError:
    return InputError(
        f"layer {layer!r} calls tf.{function}, which is not among the operations that can be "
        "taken over from a Keras 2 file"
    )


def is_allowed(function: object) -> bool:
    """Whether a function of TensorFlow, such as "math.truediv", only computes with tensors."""
    return isinstance(function, str) and (
        function in _FUNCTIONS or function.rpartition(".")[0] in _MODULES
    )


def modernize(config: object) -> bool:
    """Rewrite the config of a Keras 2 model for Keras 3, in place.

    Besides the operations, three differences keep Keras 3.15 from reading nested models of Keras 2:
    Keras 2 counts the calls of a nested model from 1, Keras 3 from 0; and Keras 2 writes a single
    output, and the axis of a BatchNormalization, as a list.

    Returns:
        Whether the config was changed.

    Raises:
        InputError: the model has an operation that is not allowed, or that works on several axes.
        KeyError, TypeError, AttributeError, ValueError: the config is damaged.
    """
    changed = False
    values = model_settings(config)
    if values is None:
        return False
    layers = values["layers"]
    for layer in layers:
        changed = modernize(layer) or _modernize_layer(layer) or changed
    if "output_layers" not in values or any(
        isinstance(node, dict) for layer in layers for node in layer.get("inbound_nodes", [])
    ):
        return changed  # a Sequential model, or written by Keras 3
    models = {layer["name"] for layer in layers if counts_from_one(layer)}
    sequential = {layer["name"] for layer in layers if kind_of(layer) == "Sequential"}
    for layer in layers:
        if layer["class_name"] in OPERATION_CLASSES:
            _rewrite_operation(layer)
        for reference in _references(layer["inbound_nodes"]):
            if reference[0] in models:
                reference[1] -= 1
        is_recurrent = layer["class_name"] in _RECURRENT
        layer["inbound_nodes"] = [
            _with_named_tensors(node, is_recurrent) for node in layer["inbound_nodes"]
        ]
    for reference in _references(values["output_layers"]):
        if reference[0] in models & sequential:  # for functional models, Keras 3 does it
            reference[1] -= 1
    for key in ("input_layers", "output_layers"):
        ends = values[key]  # a dict if the model takes or returns one
        if isinstance(ends, list) and len(ends) == 1 and isinstance(ends[0], list):
            (values[key],) = ends
    return True


def name_operations(config: object) -> bool:
    """Give Keras 3's operations in the config of an .h5 file names of their own, in place.

    Keras 3 writes ``x + 1`` into an .h5 file as a layer of the class "Add", and can't read it.

    Returns:
        Whether the config was changed.

    Raises:
        KeyError, TypeError, AttributeError, ValueError: the config is damaged.
    """
    values = model_settings(config)
    if values is None:
        return False
    changed = False
    for layer in values["layers"]:
        changed = name_operations(layer) or changed
        kind = layer["class_name"]
        is_layer = "trainable" in layer["config"]  # operations lack this setting
        if kind in operation_classes() and not is_layer and "module" not in layer:
            layer["class_name"] = _OPERATION_PREFIX + kind
            changed = True
        if kind == "GetItem":
            for node in layer["inbound_nodes"]:
                tensor, key = node["args"][:2]
                _replace_ellipsis(tensor, key)
    return changed


def model_settings(config: object) -> Config | None:
    """The settings of a model, which list its layers; None if the config is not a model's."""
    settings = config.get("config") if isinstance(config, dict) else None
    if isinstance(settings, dict) and isinstance(settings.get("layers"), list):
        return settings
    return None


def _replace_ellipsis(tensor: Config, key: object) -> None:
    """``x[..., 0]`` to ``x[:, :, :, 0]``: Keras can't read the ``...`` that it writes to .h5."""
    if isinstance(key, list) and any(_is_ellipsis(part) for part in key):
        rank = len(tensor["config"]["shape"])
        everything = {"class_name": "__slice__", "config": dict.fromkeys(("start", "stop", "step"))}
        place = next(i for i, part in enumerate(key) if _is_ellipsis(part))
        key[place : place + 1] = [everything] * (rank - len(key) + 1)


def _is_ellipsis(part: object) -> bool:
    return isinstance(part, dict) and part.get("class_name") == "__ellipsis__"


def operation_objects() -> dict[str, type[keras.Operation]]:
    """The custom_objects that Keras needs to read a config after name_operations."""
    operations = {_OPERATION_PREFIX + name: found for name, found in operation_classes().items()}
    layers = application_layers()
    return {**operations, **layers, **{f"Custom>{name}": kind for name, kind in layers.items()}}


@functools.cache
def application_layers() -> dict[str, type[keras.Operation]]:
    """The layers that Keras 3 defines beside its networks, by class name."""
    return {
        name: getattr(importlib.import_module(f"keras.src.applications.{module}"), name)
        for name, module in APPLICATION_LAYERS.items()
    }


@functools.cache
def operation_classes() -> dict[str, type[keras.Operation]]:
    """Keras' own operations by class name."""
    from keras.src import ops

    modules = (ops.core, ops.image, ops.linalg, ops.math, ops.nn, ops.numpy)
    return {
        name: found
        for module in modules
        for name, found in vars(module).items()
        if isinstance(found, type) and issubclass(found, keras.Operation)
    }


def _modernize_layer(layer: Config) -> bool:
    """Rewrite a layer's settings for Keras 3, also those of a layer inside a wrapper, in place."""
    config = layer.get("config")
    if not isinstance(config, dict):
        return False
    changed = "layer" in config and _modernize_layer(config["layer"])
    axis = config.get("axis")
    if isinstance(axis, list) and len(axis) == 1:
        (config["axis"],) = axis
        changed = True
    elif isinstance(axis, list):
        _keep_axes(layer)
        changed = True
    if str(layer["class_name"]).endswith(_FROM_CONV2D):
        changed = config.pop("groups", None) is not None or changed
        if not layer["class_name"].endswith("Transpose"):
            for setting in ("kernel_initializer", "kernel_regularizer", "kernel_constraint"):
                changed = config.pop(setting, None) is not None or changed
    return changed


def _keep_axes(layer: Config) -> None:
    """Name the module of a layer or operation that works on several axes, in place.

    Keras 3 forgets the axes of a layer in an .h5 file, unless the layer states its module, as
    layers in .keras files do.
    """
    kind = layer["class_name"]
    operation = operation_classes().get(kind)
    if "trainable" in layer["config"] and hasattr(keras.layers, kind):
        layer.update(module="keras.layers", registered_name=None)
    elif operation is not None:
        layer.update(module=operation.__module__, registered_name=None)
    else:
        raise InputError(
            f"layer {layer['config'].get('name')!r} ({kind}) works on the axes "
            f"{layer['config']['axis']}, which Keras 3 silently forgets when it reads an .h5 file; "
            "save the model as .keras instead"
        )


def counts_from_one(layer: Config) -> bool:
    """Whether it is a nested model whose calls Keras 2 counts from 1."""
    if kind_of(layer) == "Sequential":
        inner = layer["config"].get("layers") or [{}]
        return bool(inner[0].get("class_name") == "InputLayer")
    return kind_of(layer) in ("Functional", "Model")


def kind_of(layer: Config) -> str:
    """A layer's class; for a stand-in (see encoder.stand_ins), what it is."""
    return str(layer["class_name"]).partition(":")[0].removeprefix("encoder>")


def _references(value: object) -> Iterator[_Reference]:
    if _is_reference(value):
        yield value
        if len(value) == 4 and isinstance(value[3], dict):  # arguments of the call, by name
            yield from _references(value[3])
    elif isinstance(value, list | dict):
        for inner in value.values() if isinstance(value, dict) else value:
            yield from _references(inner)


def _with_named_tensors(node: object, is_recurrent: bool) -> object:
    """A node in the form of Keras 3, if the call has tensors by name; else as it is.

    In Keras 2's form, Keras 3 reads only tensors by position. A recurrent layer takes its first
    states after its input there, and by name in Keras 3.
    """
    if not isinstance(node, list) or not all(_is_reference(each) for each in node):
        return node
    named: Config = next((each[3] for each in node if len(each) == 4 and each[3]), {})
    first = [_tensor(each) for each in node]
    if is_recurrent and len(first) > 1:
        named = {**named, "initial_state": node[1:]}
        first = first[:1]
    if not any(_references(named)):
        return node
    return {
        "args": [first if len(first) > 1 else first[0]],
        "kwargs": {key: _tensor(value) for key, value in named.items()},
    }


def _tensor(value: object) -> object:
    """Keras 3's form of a reference to a tensor, or of a list of them; other values as they are."""
    if _is_reference(value):
        # Keras takes the tensor's own shape and dtype.
        settings = {"shape": [], "dtype": "float32", "keras_history": value[:3]}
        return {"class_name": "__keras_tensor__", "config": settings}
    return [_tensor(each) for each in value] if isinstance(value, list) else value


def _rewrite_operation(layer: Config) -> None:
    """Make an operation of Keras 2 a TensorFlowOperation, in place.

    Its constants move from its node, where Keras 2 writes them, to its config.
    """
    (node,) = layer["inbound_nodes"]
    tensors: list[_Reference] = []

    def placed(reference: _Reference) -> object:
        if reference[0] == CONSTANT:
            return reference[2]
        tensors.append([*reference[:3], {}])
        return {_TENSOR: len(tensors) - 1}

    is_list = isinstance(node[0], list)  # the first argument is a list of tensors
    first = [placed(each) for each in node] if is_list else placed(node)
    (named, *_) = (node[0] if is_list else node)[3:] or [{}]
    options = {
        key: placed(value) if _is_reference(value) else value for key, value in named.items()
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
    if str(config.get("dtype")).startswith("mixed_"):
        layer["config"]["autocast"] = False  # in Keras 2, operations take values as they come
    layer["inbound_nodes"] = [tensors]


def _is_reference(value: object) -> TypeGuard[_Reference]:
    """Whether a value has the form in which Keras 2 refers to a tensor."""
    return (
        isinstance(value, list)
        and len(value) in (3, 4)
        and isinstance(value[0], str)
        and all(isinstance(each, int) for each in value[1:3])
    )


def _slice(spec: object) -> object:
    if _is_ellipsis(spec):
        return Ellipsis
    if isinstance(spec, dict):
        return slice(spec.get("start"), spec.get("stop"), spec.get("step"))
    return spec
