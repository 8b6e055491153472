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

# Layers that keras.applications defines beside its networks, by the module's name.
APPLICATION_LAYERS = {
    "LayerScale": "convnext",
    "StochasticDepth": "convnext",
    "CustomScaleLayer": "inception_resnet_v2",
}
_ERROR = "it can't be converted: "  # other lines of the libraries may stand before it


class Request(TypedDict):
    """What to convert. With a config, source is a checkpoint; without, it is a model file.

    stand_ins has the names of the classes of stand-ins, such as encoder>Hidden:Dense.
    """

    config: str | None
    stand_ins: list[str]
    source: str
    target: str


def error_in(output: str) -> str:
    """The error's text in what the process has written; "" if it ended otherwise."""
    return output.partition(_ERROR)[2].strip() if _ERROR in output else ""


def convert(request: Request) -> None:
    """Make the .h5 file."""
    import tf_keras

    warnings.simplefilter("ignore")  # .h5 is outdated, but Keras 3 can read it
    stand_ins = {name: _stand_in(name) for name in request["stand_ins"]}
    if request["config"] is None:
        with tf_keras.utils.custom_object_scope({**_application_layers(), **stand_ins}):
            model = tf_keras.models.load_model(request["source"], compile=False)
    else:
        if stand_ins:
            _find_layers_by_number()
        with tf_keras.utils.custom_object_scope({**_application_layers(), **stand_ins}):
            model = tf_keras.models.model_from_json(request["config"])
        status = model.load_weights(request["source"])
        status.assert_existing_objects_matched()
        status.expect_partial()  # without a warning: the state of the optimizer stays behind
    model.save(request["target"], save_format="h5", include_optimizer=False)


def _stand_in(name: str) -> type:
    """For tf-keras, what encoder.stand_ins.stand_in_class is for Keras."""
    import tensorflow as tf
    import tf_keras

    class Hidden(tf_keras.layers.Layer):  # type: ignore[misc]
        def __init__(self, reason: str, outputs: int, **options: object) -> None:
            super().__init__(**options)
            if not 1 <= outputs <= 1000:
                raise ValueError(f"a layer can't have {outputs} outputs")
            self.settings = {"reason": reason, "outputs": outputs}

        def call(self, inputs: list[object]) -> object:
            outputs = [tf.zeros((1, 1)) for _ in range(int(str(self.settings["outputs"])))]
            return outputs if len(outputs) > 1 else outputs[0]

        def get_config(self) -> dict[str, object]:
            return {"name": self.name, **self.settings}

        def load_own_variables(self, store: object) -> None:
            """Leave the weights of the hidden layer in the file."""

    bases = {"Hidden": Hidden, "Functional": tf_keras.Model, "Sequential": tf_keras.Sequential}
    package, _, registered = name.partition(">")
    kind, _, own = registered.partition(":")
    made = type(own, (bases[kind],), {})
    return tf_keras.utils.register_keras_serializable(package, registered)(made)  # type: ignore[no-any-return]


def _find_layers_by_number() -> None:
    """Let tf-keras find layers in a checkpoint by their numbers in the model alone.

    It would also look by their numbers among the layers with weights, and hidden ones have none.
    """
    from tf_keras.src.engine.functional import Functional

    def layers(self: object) -> dict[str, object]:
        return {f"layer-{number}": layer for number, layer in enumerate(self.layers)}  # type: ignore[attr-defined]

    Functional._layer_checkpoint_dependencies = property(layers)


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
