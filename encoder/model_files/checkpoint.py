"""Put the weights of a TensorFlow checkpoint into a network of Keras 3.

Keras 2 writes such files (``save_weights("name")``), and ``tf.train.Checkpoint`` writes them of
networks of either Keras. They hold a graph of objects: a model, its layers by number, and their
variables by name.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

import keras

from encoder.errors import InputError, shortened
from encoder.model_files.kinds import INDEX_ENDING
from encoder.storage.registry import store_for

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_GRAPH = "_CHECKPOINTABLE_OBJECT_GRAPH"
# Children of a model that are not its weights.
_NOT_WEIGHTS = ("optimizer", "keras_api", "loss", "metric", "tracker", "seed_generator")
_MOST_NAMED = 3


class _Stored(NamedTuple):
    """A variable in a checkpoint: its key, and the name that it had in the trained network."""

    key: str
    name: str


class _Checkpoint:
    """The objects in a checkpoint, by number; number 0 is what was saved."""

    def __init__(self, file: str) -> None:
        try:
            from tensorflow.core.protobuf.trackable_object_graph_pb2 import TrackableObjectGraph
            from tensorflow.train import load_checkpoint
        except ImportError as error:
            raise InputError(
                f"{file!r} is a TensorFlow checkpoint, which only TensorFlow reads: "
                "pip install tensorflow. It is needed once, not for the bundle"
            ) from error
        try:
            self._reader = load_checkpoint(file.removesuffix(INDEX_ENDING))
            self._shapes = self._reader.get_variable_to_shape_map()
            graph = TrackableObjectGraph()
            if _GRAPH in self._shapes:
                graph.ParseFromString(self._reader.get_tensor(_GRAPH))
        except Exception as error:  # many types; all mean that it is damaged
            raise InputError(
                f"{file!r} is no whole TensorFlow checkpoint: {shortened(error)}. The files "
                "NAME.index and NAME.data-00000-of-00001 belong together"
            ) from error
        self.has_objects = bool(graph.nodes)
        self._children = [
            {child.local_name: child.node_id for child in node.children} for node in graph.nodes
        ]
        self._stored = [
            [_Stored(each.checkpoint_key, each.full_name) for each in node.attributes]
            for node in graph.nodes
        ]

    def child(self, node: int, *names: str) -> int | None:
        """The first of the named children of an object."""
        found = self._children[node] if node < len(self._children) else {}
        return next((found[name] for name in names if name in found), None)

    def roots(self) -> list[int]:
        """The objects that may be the network: what was saved, and what is directly in it."""
        return list(dict.fromkeys([0, *self._children[0].values()]))

    def variable(self, node: int) -> _Stored | None:
        """The variable that an object is."""
        stored = self._stored[node] if node < len(self._stored) else []
        return next((each for each in stored if each.key in self._shapes), None)

    def variables_below(self, root: int) -> dict[int, _Stored]:
        """The variables that belong to an object, without those of its training."""
        found, seen, waiting = {}, {root}, [root]
        while waiting:
            node = waiting.pop()
            stored = self.variable(node)
            if stored is not None:
                found[node] = stored
            for name, each in self._children[node].items() if node < len(self._children) else ():
                if each not in seen and not any(part in name for part in _NOT_WEIGHTS):
                    seen.add(each)
                    waiting.append(each)
        return found

    def shape(self, key: str) -> tuple[int, ...] | None:
        found = self._shapes.get(key)
        return None if found is None else tuple(found)

    def values(self, key: str) -> NDArray[np.generic]:
        values: NDArray[np.generic] = self._reader.get_tensor(key)
        return values


def files_of(path: str) -> list[str]:
    """The files of a checkpoint, of which the path is the .index file; else the path alone."""
    if not path.endswith(INDEX_ENDING):
        return [path]
    folder, _, name = path.rpartition("/")
    start = name.removesuffix(INDEX_ENDING) + ".data-"
    data = store_for(path).list_files(folder or ".", start, deep=False)
    return [path, *sorted(info.path for info in data)]


def load_checkpoint(model: keras.Model, file: str) -> None:
    """Put the weights of a checkpoint into a network, if they are exactly the network's.

    Args:
        model: the built network.
        file: the checkpoint's .index file, with its data beside it.

    Raises:
        InputError: the checkpoint is damaged, or a weight has no place in the network, or the
            network has a weight that is not in the checkpoint.
    """
    checkpoint = _Checkpoint(file)
    if checkpoint.has_objects:
        keys = _keys_by_object(model, checkpoint, file)
    else:
        keys = {id(weight): weight.path for weight in model.weights}  # a Saver of TensorFlow 1
    for weight in model.weights:
        key = keys[id(weight)]
        shape = checkpoint.shape(key)
        if shape != tuple(weight.shape):
            there = "is not in the file" if shape is None else f"has {shape} in the file"
            raise InputError(
                f"the weights in {file!r} do not fit the network: {weight.path} has the shape "
                f"{tuple(weight.shape)}, and {_shown(key)!r} {there}; the builder must make the "
                "very network that was trained"
            )
        weight.assign(checkpoint.values(key))
    for layer in model._flatten_layers():
        if isinstance(layer, keras.layers.Normalization):
            layer.finalize_state()  # it computes with copies of its weights


def _keys_by_object(model: keras.Model, checkpoint: _Checkpoint, file: str) -> dict[int, str]:
    """For the id of each weight, its key in the checkpoint."""
    every = {id(weight): weight for weight in model.weights}
    found = {root: _found(model, root, checkpoint, set(every)) for root in checkpoint.roots()}
    root = max(found, key=lambda each: len(found[each]))  # the first of the best
    best = found[root]
    others = [each for each, places in found.items() if len(places) == len(best) != 0]
    if any(found[each] != best for each in others):
        raise InputError(
            f"{file!r} holds {len(others)} networks that have the weights of this one; save the "
            "weights of the one that you mean alone: model.save_weights('one.weights.h5')"
        )
    stored = checkpoint.variables_below(root)
    unset = [weight.path for key, weight in every.items() if key not in best]
    unplaced = [_shown(stored[node].key) for node in stored.keys() - set(best.values())]
    if unset or unplaced:
        raise InputError(
            f"{len(unplaced)} weights in {file!r} found no place in the network"
            f"{_some(unplaced)}, and {len(unset)} weights of the network are not in the file"
            f"{_some(unset)}; the builder must make the very network that was trained"
        )
    _check_names(every, {key: stored[node] for key, node in best.items()}, file)
    return {key: stored[node].key for key, node in best.items()}


def _found(
    model: keras.Model, root: int, checkpoint: _Checkpoint, wanted: set[int]
) -> dict[int, int]:
    """The ids of a network's weights, each with the variable in the checkpoint."""
    places = _places(model, root, checkpoint, wanted)
    return {key: node for key, node in places if checkpoint.variable(node) is not None}


def _places(
    layer: keras.Layer, node: int, checkpoint: _Checkpoint, wanted: set[int]
) -> Iterator[tuple[int, int]]:
    """The ids of a layer's weights, each with its object in the checkpoint."""
    inside = checkpoint.child(node, "_functional")
    if inside is not None and isinstance(layer, keras.Sequential):  # of Keras 3
        layer, node = layer._functional, inside
    if isinstance(layer, keras.Model):
        for inner, names in _numbered_layers(layer):
            for list_name, name in names:
                holder = node if list_name is None else checkpoint.child(node, list_name)
                found = None if holder is None else checkpoint.child(holder, name)
                if found is not None:
                    yield from _places(inner, found, checkpoint, wanted)
                    break
        return
    for name, value in vars(layer).items():
        plain = name.lstrip("_")
        found = checkpoint.child(node, name, plain, f"depthwise_{plain}")  # the last two in Keras 2
        if found is None:
            continue
        if isinstance(value, keras.Layer):
            yield from _places(value, found, checkpoint, wanted)
        elif id(value) in wanted:
            yield id(value), found


def _numbered_layers(
    model: keras.Model,
) -> Iterator[tuple[keras.Layer, list[tuple[str | None, str]]]]:
    """A model's layers with weights, and where Keras 2 and Keras 3 list them."""
    lists = {
        name: {id(layer): str(place) for place, layer in enumerate(vars(model).get(name) or [])}
        for name in ("_operations", "_layers")
    }
    with_weights = [layer for layer in model.layers if layer.weights]
    for place, layer in enumerate(with_weights):
        names: list[tuple[str | None, str]] = [(None, f"layer_with_weights-{place}")]
        names += [(name, where[id(layer)]) for name, where in lists.items() if id(layer) in where]
        yield layer, names


def _check_names(weights: dict[int, keras.Variable], stored: dict[int, _Stored], file: str) -> None:
    """Refuse weights that are in another order, where the file names the network's own layers.

    Names that Keras counts (conv2d_4) differ from one program to the next, so they say nothing
    unless the network has all of them.
    """
    ours = {key: _layer_of(weight.path) for key, weight in weights.items()}
    theirs = {key: _layer_of(each.name) for key, each in stored.items()}
    if set(theirs.values()) != set(ours.values()):
        return
    for key, name in ours.items():
        if theirs[key] != name:
            raise InputError(
                f"the weights in {file!r} are in another order than in the network: those of the "
                f"layer {theirs[key]!r} have the place of {name!r}; the builder must make the "
                "very network that was trained"
            )


def _layer_of(path: str) -> str:
    return path.rpartition("/")[0].rpartition("/")[2]


def _shown(key: str) -> str:
    return key.partition("/.ATTRIBUTES")[0]


def _some(names: list[str]) -> str:
    shown = ", ".join(sorted(names)[:_MOST_NAMED])
    return f" ({shown}{', …' if len(names) > _MOST_NAMED else ''})" if names else ""
