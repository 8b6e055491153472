"""The networks of keras.applications, without trained weights. Runs under every version."""

import inspect

# Their smallest sizes of images differ; NASNetLarge and the Inceptions take at least 75.
SIZE = 96


def names(keras):
    found = vars(keras.applications) if vars(keras.applications) else {}
    return sorted(
        name
        for name in set(found) | set(dir(keras.applications))
        if inspect.isfunction(getattr(keras.applications, name, None)) and name[0].isupper()
    )


def build(keras, names):
    (name,) = names
    make = getattr(keras.applications, name)
    return {"model": make(weights=None, include_top=False, input_shape=(SIZE, SIZE, 3))}
