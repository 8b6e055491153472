"""Files of Keras 2 that only tf-keras can read."""

from __future__ import annotations

import logging
import os
import warnings

from encoder.errors import InputError


def to_keras3(path: str, folder: str) -> str:
    """Convert a SavedModel folder or a Keras 2 ``.keras`` file; gives an .h5 file in the folder.

    Raises:
        InputError: tf-keras is not installed, or can't read it as a model with layers.
    """
    try:
        import tf_keras
    except ImportError as error:
        raise InputError(
            f"{path!r} was saved by Keras 2, which only tf-keras can read: pip install tf-keras "
            "(or this package with the extra [savedmodel]). It is needed once, not for the bundle"
        ) from error
    target = os.path.join(folder, "converted.h5")
    logger = logging.getLogger("tensorflow")
    level = logger.level
    logger.setLevel("ERROR")  # it warns of what training would need
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # .h5 being old is why it is used
            model = tf_keras.models.load_model(path, compile=False)
            model.save(target, save_format="h5", include_optimizer=False)
    except Exception as error:  # all kinds; each means that there is nothing to convert
        raise InputError(
            f"tf-keras {tf_keras.__version__} can't take {path!r} as a model with layers: {error}. "
            "If it is a subclassed model, build the same layers as a functional model, load the "
            "weights into it, and save that"
        ) from error
    finally:
        logger.setLevel(level)
    return target
