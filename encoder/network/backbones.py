"""Find the preprocessing that fits a network: by its first layers and by its backbone.

The backbones are those of keras.applications, recognized by the names of their layers.
"""

from __future__ import annotations

from typing import NamedTuple

import keras

from encoder.network.graph import Graph, Step
from encoder.spec import PreprocessMode

# Backbone, names of layers that only this backbone has together, mode of its preprocess_input.
# The modes are from keras/src/applications/*.py.
_BACKBONES: tuple[tuple[str, tuple[str, ...], PreprocessMode], ...] = (
    ("VGG16 or VGG19", ("block1_conv1", "block3_conv3", "block5_conv3"), "caffe"),
    ("ResNet", ("conv1_conv", "conv2_block1_out", "conv2_block1_3_bn"), "caffe"),
    ("ResNetV2", ("conv1_conv", "conv2_block1_preact_bn"), "tf"),
    ("DenseNet", ("conv1_conv", "conv2_block1_concat", "pool2_conv"), "torch"),
    ("MobileNet", ("conv1", "conv_dw_1", "conv_pw_1"), "tf"),
    ("MobileNetV2", ("Conv1", "expanded_conv_depthwise", "bn_Conv1"), "tf"),
    ("Xception", ("block1_conv1", "block2_sepconv1", "block4_sepconv1"), "tf"),
    ("InceptionV3", ("mixed0", "mixed3"), "tf"),
    ("InceptionResNetV2", ("mixed_5b", "mixed_6a"), "tf"),
    ("NASNet", ("stem_conv1", "stem_bn1", "reduction_conv_1_stem_1"), "tf"),
)
_SCALING_LAYERS = ("Rescaling", "Normalization", "BatchNormalization", "Lambda")
_SHAPING_LAYERS = ("Resizing", "CenterCrop", "ZeroPadding2D", "Cropping2D")


class Preprocessing(NamedTuple):
    """A mode of encoder.network.preprocess, and the reason for its choice in one sentence."""

    mode: PreprocessMode
    reason: str


def inside(graph: Graph) -> list[str]:
    """Names of the layers that change pixel values before the first layer with trained weights."""
    names = []
    for step in graph.steps:
        if step.is_input or step.is_model:
            continue
        if _has_trained_weights(step) and type(step.layer).__name__ not in _SCALING_LAYERS:
            break
        if _changes_values(step):
            names.append(step.name)
    return names


def recognize(graph: Graph) -> Preprocessing:
    """The preprocessing that the network was most likely trained with."""
    within = inside(graph)
    if within:
        listed = ", ".join(within)
        return Preprocessing(
            "none", f"the network preprocesses by itself ({listed}), that stays in"
        )
    names = {step.name.rpartition("/")[2].partition(":")[0] for step in graph.steps}
    if graph.input.shape[-1] == 3:
        for backbone, layers, mode in _BACKBONES:
            if names.issuperset(layers):
                return Preprocessing(
                    mode, f"its layers are those of {backbone} in keras.applications"
                )
    return Preprocessing(
        "none",
        "assumed: pixels go in as 0 to 255. If they were scaled in training, say how with "
        "--preprocess, such as --preprocess unit for a division by 255",
    )


def _has_trained_weights(step: Step) -> bool:
    return bool(getattr(step.layer, "weights", None))


def _changes_values(step: Step) -> bool:
    kind = type(step.layer).__name__
    if kind in _SHAPING_LAYERS:
        return False
    is_operation = not isinstance(step.layer, keras.layers.Layer)
    return is_operation or kind in _SCALING_LAYERS or kind == "TensorFlowOperation"
