"""The networks of keras.applications, without trained weights. Runs under every version."""

import inspect

# Their smallest sizes of images differ; NASNetLarge and the Inceptions take at least 75.
SIZE = 96
# Their last maps would be single values at that size, which "auto" takes for scores of classes.
LARGER = {"InceptionV3": 139, "InceptionResNetV2": 139}


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
    size = LARGER.get(name, SIZE)
    return {"model": make(weights=None, include_top=False, input_shape=(size, size, 3))}
