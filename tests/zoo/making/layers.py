"""Small networks with layers of the table. Runs under every version, so Python 3.8."""

import inspect
import re

from layer_table import LEFT_OUT, TABLE


def namespaces(keras):
    found = [keras.layers]
    for name in ("experimental", "preprocessing"):
        inner = getattr(found[-1], name, None)
        if inner is not None:
            found.append(inner)
    return found


def find(keras, name):
    """The class of a name, or None if this version lacks it."""
    for space in namespaces(keras):
        if hasattr(space, name):
            return getattr(space, name)
    return None


def names(keras):
    return [name for name in TABLE if has(keras, name)]


def has(keras, name):
    kind, _, special = name.partition(": ")
    if kind == "Activation" and special:
        try:
            keras.activations.get(special)
        except (ValueError, AttributeError):
            return False
    return find(keras, kind) is not None


def left_out(keras):
    """Why each class that the table lacks is left out; "" for one that nobody has thought of."""
    in_table = [find(keras, name) for name in names(keras)]
    found = {}
    for space in namespaces(keras):
        for name in dir(space):
            kind = getattr(space, name)
            is_layer = inspect.isclass(kind) and issubclass(kind, keras.layers.Layer)
            if is_layer and not any(kind is each for each in in_table):
                found[name] = LEFT_OUT.get(name, "")
    return found


def made(keras, value):
    """A value of the table, with layers made of (class, arguments)."""
    if isinstance(value, tuple) and len(value) == 2 and isinstance(value[1], dict):
        options = {key: made(keras, each) for key, each in value[1].items()}
        return find(keras, value[0])(**options)
    if isinstance(value, list):
        return [made(keras, each) for each in value]
    return value


def build(keras, names):
    """A network with a branch for each name, and the layer in which each branch is to be cut.

    Twenty branches in a file take little longer than one. A layer that gives nothing that can be
    pooled is cut in the next one; one that takes the image, in the convolution after it.
    """
    image = keras.Input((32, 32, 3), name="image")
    x = keras.layers.Conv2D(4, 3, strides=2, padding="same", name="stem")(image)
    taps, heads = {}, []
    for name in names:
        place = TABLE[name][0]
        layer = make_layer(keras, name)
        y = PLACES[place](Named(keras.layers, layer.name), image if place == "image" else x, layer)
        taps[name] = layer.name
        if place == "image":
            taps[name] = layer.name + "_conv"
        elif len(y.shape) > 4:
            taps[name] = layer.name + "_flat"
            y = keras.layers.Reshape((-1, y.shape[-1]), name=taps[name])(y)
        heads.append(head(keras.layers, y, layer.name))
    return {"model": keras.Model(image, heads), "taps": taps}


class Named:
    """The layers of Keras, whose names all begin with that of a branch."""

    def __init__(self, layers, prefix):
        self._layers, self._prefix = layers, prefix

    def __getattr__(self, kind):
        make = getattr(self._layers, kind)
        return lambda *values, name, **options: make(
            *values, name=self._prefix + "_" + name, **options
        )


def make_layer(keras, name):
    place, options = TABLE[name]
    kind = find(keras, name.partition(":")[0])
    options = {key: made(keras, each) for key, each in options.items()}
    options["name"] = re.sub(r"\W+", "_", name).lower()
    if kind.__name__ == "Lambda":
        return kind(lambda x: x * 2, name=options["name"])
    if kind.__name__ == "Normalization" and not has_mean(kind):
        layer = kind(name=options["name"])
        layer.adapt(adapting_data(place))
        return layer
    if kind.__name__ == "Discretization":
        return kind(name=options["name"], **boundaries(kind))
    return kind(**options)


def has_mean(kind):
    return "mean" in inspect.signature(kind.__init__).parameters


def adapting_data(place):
    import numpy as np

    channels = 3 if place == "image" else 4
    return np.random.RandomState(2).uniform(0, 9, (4, 16, 16, channels)).astype("float32")


def boundaries(kind):
    """The argument of Discretization, which had another name in Keras 2.4."""
    parameters = inspect.signature(kind.__init__).parameters
    key = "bin_boundaries" if "bin_boundaries" in parameters else "bins"
    return {key: [-1.0, 0.0, 1.0]}


def sequence(of, x):
    return of.Reshape((16, 4), name="row")(of.MaxPooling2D(4, name="small")(x))


def reshaped(*shape):
    return lambda of, x, layer: layer(of.Reshape(shape, name="cut")(x))


def twice(of, x, layer):
    row = sequence(of, x)
    return layer(row, row)


def listed_twice(of, x, layer):
    row = sequence(of, x)
    return layer([row, row])


def pair(of, x, layer):
    return layer([x, of.Conv2D(4, 1, name="other")(x)])


def two_vectors(of, x, layer):
    return layer([of.GlobalAveragePooling2D(name="mean")(x), of.GlobalMaxPooling2D(name="most")(x)])


def numbers(of, x, layer):
    """Whole numbers, 0 to 3."""
    pooled = of.GlobalMaxPooling2D(name="pooled")(x)
    return layer(of.ReLU(max_value=3.0, name="numbers")(pooled))


PLACES = {
    "map": lambda of, x, layer: layer(x),
    "image": lambda of, x, layer: of.Conv2D(4, 3, strides=2, name="conv")(layer(x)),
    "sequence": lambda of, x, layer: layer(sequence(of, x)),
    "twice": twice,
    "listed twice": listed_twice,
    "volume": reshaped(4, 8, 8, 4),
    "rows": reshaped(4, 64, 4),
    "volumes": reshaped(2, 8, 8, 4, 2),
    "pair": pair,
    "two vectors": two_vectors,
    "vector": lambda of, x, layer: layer(of.GlobalAveragePooling2D(name="pooled")(x)),
    "signal": lambda of, x, layer: layer(of.Flatten(name="row")(x)),
    "numbers": numbers,
}


def head(of, y, prefix):
    """A classifier on what the layer gives, if that are numbers with a fraction."""
    rank = len(y.shape)
    if "float" not in str(y.dtype):
        return y
    if rank in (3, 4):
        y = getattr(of, "GlobalAveragePooling{}D".format(rank - 2))(name=prefix + "_pool")(y)
    return of.Dense(2, name=prefix + "_head")(y)
