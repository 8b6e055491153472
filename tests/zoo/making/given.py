"""Files that are there already. Runs under every version, so Python 3.8."""


def names(keras):
    return []


def build(keras, names):
    """The model in a file; only the file of a network that was found to hold no code."""
    (path,) = names
    return {"model": keras.models.load_model(path, compile=False)}
