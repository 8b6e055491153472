"""Hide the layers of a config that need code, and all layers behind them.

What lies behind the tap is not needed: a variational autoencoder's sampling and decoder, a custom
head. Stand-ins (see ``encoder.stand_ins``) take the place of hidden layers, and the others load as
always.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from encoder.model_files.configs.keras2 import CONSTANT, counts_from_one, kind_of, model_settings
from encoder.model_files.configs.keras2_layers import Config
from encoder.stand_ins import (
    FUNCTIONAL,
    HIDDEN,
    MOST_OUTPUTS,
    SEQUENTIAL,
    HiddenLayer,
    is_stand_in,
    stand_in_class,
)

_CLASS_NAME = re.compile(r"\w{1,100}", re.ASCII)

Reasons = Callable[[Config], list[str]]
# A hidden layer's names: its own, after those of the models that it is in, the outermost first.
Hidden = list[tuple[str, ...]]


def hide(config: Config, reasons: Reasons) -> Hidden:
    """Make layers that need code, and the layers behind them, to hidden ones, in place.

    Args:
        config: the config of a functional or Sequential model, of any version of Keras.
        reasons: what is foreign in the config of a layer, as phrases; [] for layers of Keras.

    Returns:
        The hidden layers; all of them, even if no layer but the inputs is left.

    Raises:
        KeyError, TypeError, AttributeError, ValueError, IndexError: the config is damaged.
    """
    hidden: Hidden = []
    _hide_in(config, reasons, (), hidden)
    return hidden


def has_layers(model: Config) -> bool:
    """Whether a model has a layer that is neither an input nor hidden, at any depth."""
    settings = model_settings(model)
    return settings is not None and any(
        has_layers(layer)
        if model_settings(layer)
        else layer["class_name"] != "InputLayer" and not _is_hidden(layer)
        for layer in settings["layers"]
    )


def take_graphs(config: Config, reasons: Reasons) -> list[str]:
    """Take models of custom classes that are graphs of layers as these graphs, in place.

    Returns:
        The custom classes' names.
    """
    found = []
    waiting = [config]
    while waiting:
        model = waiting.pop()
        settings = model_settings(model)
        if settings is None:
            continue
        waiting.extend(settings["layers"])
        if reasons({**model, "config": {}}):
            name = str(model["class_name"])
            found.append(name)
            _rename(model, FUNCTIONAL if "output_layers" in settings else SEQUENTIAL, name)
    return found


def stand_ins(config: object) -> dict[str, type]:
    """The custom_objects that Keras needs to read a config after hide and take_graphs."""
    found = {}
    waiting = [config]
    while waiting:
        part = waiting.pop()
        if isinstance(part, dict):
            name = part.get("class_name")
            if isinstance(name, str) and is_stand_in(name):
                found[name] = stand_in_class(name)
            waiting.extend(part.values())
        elif isinstance(part, list):
            waiting.extend(part)
    return found


def _hide_in(model: Config, reasons: Reasons, path: tuple[str, ...], hidden: Hidden) -> set[int]:
    """Hide layers inside one model. Returns which of its outputs are hidden, by number."""
    settings = model_settings(model)
    assert settings is not None, "only models are looked into"
    layers = settings["layers"]
    why: dict[str, str] = {}
    lost: dict[str, set[int]] = {}  # hidden outputs of models that are seen in part
    for layer in layers:
        name = _name(layer)
        if model_settings(layer) is not None:
            inside: Hidden = []
            lost[name] = _hide_in(layer, reasons, (*path, name), inside)
            if inside and not has_layers(layer):
                why[name] = "; ".join(_reasons_inside(layer))
            else:
                hidden.extend(inside)
            continue
        found = reasons(layer)
        if _is_hidden(layer):
            why[name] = layer["config"]["reason"]
        elif found:
            why[name] = "; ".join(found)
    if "output_layers" not in settings:
        return _hide_in_sequence(layers, why, lost, path, hidden)
    taken = {_name(layer): set(_taken(layer.get("inbound_nodes"))) for layer in layers}
    _add_those_behind(why, lost, taken)
    outputs = list(_references(settings["output_layers"]))
    counts = _output_counts([*taken.values(), [(ref[0], ref[2]) for ref in outputs]])
    _count_from_zero(settings, {_name(layer): layer for layer in layers if _name(layer) in why})
    for layer in layers:
        name = _name(layer)
        if name in why:
            _replace(layer, why[name], counts.get(name, 1))
            hidden.append((*path, name))
    return {
        number
        for number, (name, _, place, *_) in enumerate(outputs)
        if name in why or place in lost.get(name, ())
    }


def _count_from_zero(settings: Config, hidden: Mapping[str, Config]) -> None:
    """Number the calls of hidden layers from 0, in place.

    Keras 2 counts the calls of a nested model from 1, and Keras 3 does where it names the outputs.
    """
    nodes = [layer.get("inbound_nodes", []) for layer in settings["layers"]]
    is_keras3 = any(isinstance(node, dict) for each in nodes for node in each)
    from_one = {name for name, layer in hidden.items() if counts_from_one(layer)}
    for reference in _references([settings["output_layers"], [] if is_keras3 else nodes]):
        if reference[0] in from_one:
            calls = len(hidden[reference[0]]["inbound_nodes"])
            reference[1] = max(0, min(reference[1] - 1, calls - 1))


def _hide_in_sequence(
    layers: list[Config],
    why: dict[str, str],
    lost: dict[str, set[int]],
    path: tuple[str, ...],
    hidden: Hidden,
) -> set[int]:
    """Hide the layers of a Sequential model from the first one that needs code."""
    is_behind = False
    for layer in layers:
        name = _name(layer)
        if is_behind or name in why:
            is_behind = True
            _replace(layer, why.get(name, ""), 1)
            hidden.append((*path, name))
        is_behind = is_behind or bool(lost.get(name))
    return {0} if is_behind else set()


def _add_those_behind(
    why: dict[str, str], lost: Mapping[str, set[int]], taken: Mapping[str, set[tuple[str, int]]]
) -> None:
    """Add the layers that take a hidden tensor to those to hide."""
    users = defaultdict(set)
    for name, tensors in taken.items():
        for source, place in tensors:
            users[source].add((name, place))
    waiting = [*why, *lost]
    while waiting:
        source = waiting.pop()
        for name, place in users[source]:
            if name not in why and (source in why or place in lost.get(source, ())):
                why[name] = ""
                waiting.append(name)


def _output_counts(taken: list[Any]) -> dict[str, int]:
    """How many outputs each layer has at least, by what others take of it."""
    counts: dict[str, int] = {}
    for tensors in taken:
        for name, place in tensors:
            if not 0 <= place < MOST_OUTPUTS:
                raise ValueError(f"a tensor is output {place} of layer {name!r}")
            counts[name] = max(counts.get(name, 1), place + 1)
    return counts


def _replace(layer: Config, reason: str, outputs: int) -> None:
    """Make a layer's config that of a hidden layer, with the same inputs, in place."""
    name = _name(layer)
    layer["config"] = {"name": name, "reason": reason, "outputs": outputs}
    layer["name"] = name
    layer.pop("build_config", None)
    _rename(layer, HIDDEN, str(layer.get("class_name")))
    nodes = layer.get("inbound_nodes")
    if nodes is not None:
        layer["inbound_nodes"] = [_plain_node(node) for node in nodes]


def _rename(layer: Config, prefix: str, name: str) -> None:
    """Make a layer's class a stand-in for the class of a name, in place."""
    name = name.partition(":")[2] if is_stand_in(name) else name.rpartition(">")[2]
    layer["class_name"] = prefix + (name if _CLASS_NAME.fullmatch(name) else "Layer")
    if "module" in layer:
        layer.update(module=HiddenLayer.__module__, registered_name=layer["class_name"])


def _is_hidden(layer: Config) -> bool:
    return kind_of(layer) == "Hidden"


def _plain_node(node: object) -> object:
    """A call of a layer with all its tensors in one list."""
    if isinstance(node, dict):
        return {"args": [list(_tensors(node))], "kwargs": {}}
    return [[*reference[:3], {}] for reference in _references(node)]


def _reasons_inside(model: Config) -> Iterator[str]:
    settings = model_settings(model)
    for layer in settings["layers"] if settings else []:
        if _is_hidden(layer) and layer["config"]["reason"]:
            yield layer["config"]["reason"]


def _name(layer: Config) -> str:
    name = layer.get("name") or layer["config"]["name"]
    if not isinstance(name, str):
        raise TypeError(f"a layer's name is {name!r}")
    return name


def _taken(nodes: object) -> Iterator[tuple[str, int]]:
    """The tensors that a layer takes: the maker's name, and the number of its output."""
    for name, _, place, *_ in _references(nodes):
        yield name, place


def _references(value: object) -> Iterator[list[Any]]:
    """The references to tensors in a config: [layer name, node, output, ...], to be changed."""
    if isinstance(value, list):
        if _is_reference(value):
            if value[0] != CONSTANT:
                yield value
            value = value[3:]
        for inner in value:
            yield from _references(inner)
    elif isinstance(value, dict):
        if value.get("class_name") == "__keras_tensor__":
            yield value["config"]["keras_history"]
        else:
            for inner in value.values():
                yield from _references(inner)


def _tensors(value: object) -> Iterator[Config]:
    """The symbolic tensors in a node's arguments, in the format of Keras 3."""
    if isinstance(value, list):
        for inner in value:
            yield from _tensors(inner)
    elif isinstance(value, dict):
        if value.get("class_name") == "__keras_tensor__":
            yield value
        else:
            for inner in value.values():
                yield from _tensors(inner)


def _is_reference(value: list[Any]) -> bool:
    return (
        len(value) in (3, 4)
        and isinstance(value[0], str)
        and all(isinstance(each, int) for each in value[1:3])
    )
