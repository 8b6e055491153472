"""The program of a process that makes an .h5 file with tf-keras; see saved_model.

tf-keras gets no more mends for hostile files. The configs that it gets here were checked before;
this process is a second wall, for what the check overlooks; see encoder.isolation.

In: a request on standard input, as JSON. Out: an error's text on standard error, or nothing.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
import warnings
from typing import TypedDict

from encoder.isolation import restrict
from encoder.model_files.keras2_layers import APPLICATION_LAYERS

_ERROR = "it can't be converted: "  # other lines of the libraries may stand before it


class Request(TypedDict):
    """What to convert. With a config, source is a checkpoint; without, it is a model file."""

    config: str | None
    source: str
    target: str


def error_in(output: str) -> str:
    """The error's text in what the process has written; "" if it ended otherwise."""
    return output.partition(_ERROR)[2].strip() if _ERROR in output else ""


def convert(request: Request) -> None:
    """Make the .h5 file."""
    import tf_keras

    warnings.simplefilter("ignore")  # .h5 is outdated, but Keras 3 can read it
    if request["config"] is None:
        with tf_keras.utils.custom_object_scope(_application_layers()):
            model = tf_keras.models.load_model(request["source"], compile=False)
    else:
        with tf_keras.utils.custom_object_scope(_application_layers()):
            model = tf_keras.models.model_from_json(request["config"])
        status = model.load_weights(request["source"])
        status.assert_existing_objects_matched()
        status.expect_partial()  # without a warning: the state of the optimizer stays behind
    model.save(request["target"], save_format="h5", include_optimizer=False)


def _application_layers() -> dict[str, type]:
    """The layers that tf-keras defines beside its networks, by class name; it finds no others."""
    return {
        name: getattr(importlib.import_module(f"tf_keras.src.applications.{module}"), name)
        for name, module in APPLICATION_LAYERS.items()
    }


def main() -> None:
    """Convert what standard input asks for; exit with the error's text if that fails."""
    asked: Request = json.load(sys.stdin)
    restrict([os.path.dirname(asked["target"])])
    try:
        convert(asked)
    except Exception as error:  # many types; all mean that it can't be converted
        sys.exit(_ERROR + str(error))


if __name__ == "__main__":
    main()
