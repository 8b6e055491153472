"""Pool feature maps to one vector: the layers on top of an encoder."""

from __future__ import annotations

import math

import keras

from encoder.errors import InputError
from encoder.network.pool_numpy import GEM_P, SMALLEST
from encoder.spec import POOLINGS, Pooling, check_choice

POOLING_PREFIX = "embedding_"
_POOL_NAME = f"{POOLING_PREFIX}pool_"


@keras.saving.register_keras_serializable(package="encoder")
class GlobalMeanPooling(keras.layers.Layer):  # type: ignore[misc]
    """(n, ..., c) to (n, c): the mean over all positions.

    Keras' own GlobalAveragePooling2D sums all height x width values at once in float32. On a large,
    even feature map its error is more than 1e-5 of the result.
    """

    def call(self, inputs: keras.KerasTensor) -> keras.KerasTensor:
        return _mean(inputs)

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        return (input_shape[0], input_shape[-1])


@keras.saving.register_keras_serializable(package="encoder")
class GeneralizedMeanPooling(keras.layers.Layer):  # type: ignore[misc]
    """(n, ..., c) to (n, c): the p-th root of the mean of the p-th powers.

    Radenović, Tolias, Chum: "Fine-tuning CNN Image Retrieval with No Human Annotation", 2018,
    equation 3. p = 1 gives the mean of the positive part; a large p approaches the maximum.
    """

    def __init__(self, p: float = GEM_P, **options: object) -> None:
        super().__init__(**options)
        self.p = p

    def call(self, inputs: keras.KerasTensor) -> keras.KerasTensor:
        powers = keras.ops.power(keras.ops.maximum(inputs, SMALLEST), self.p)
        return keras.ops.power(_mean(powers), 1 / self.p)

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        return (input_shape[0], input_shape[-1])

    def get_config(self) -> dict[str, object]:
        return {**super().get_config(), "p": self.p}


def pool_taps(
    outputs: list[keras.KerasTensor], pooling: Pooling, normalize: bool, gem_p: float = GEM_P
) -> keras.KerasTensor:
    """Pool symbolic feature maps (n, ..., c) and concatenate them to one (n, dim) float32 tensor.

    Raises:
        InputError: pooling is none of POOLINGS, or does not apply to the shape of a feature map.
    """
    check_choice("pooling", pooling, POOLINGS)
    vectors = [
        _pooling_layer(output.shape, pooling, gem_p, f"{_POOL_NAME}{number}")(output)
        for number, output in enumerate(outputs, start=1)
    ]
    vector = vectors[0]
    if len(vectors) > 1:
        vector = keras.layers.Concatenate(name="embedding_join", dtype="float32")(vectors)
    if normalize:
        vector = keras.layers.UnitNormalization(name="embedding_unit", dtype="float32")(vector)
    return vector


def pooled_tensors(encoder: keras.Model) -> list[keras.KerasTensor]:
    """The feature maps that the layers of pool_taps take in an encoder, in the vector's order."""
    numbers = range(1, len(encoder.layers) + 1)
    names = {layer.name for layer in encoder.layers}
    found = [f"{_POOL_NAME}{number}" for number in numbers if f"{_POOL_NAME}{number}" in names]
    return [encoder.get_layer(name).input for name in found]


def pooled_length(shape: tuple[int | None, ...], pooling: Pooling) -> int:
    """The length of the vector that a feature map of shape (batch, ..., c) is pooled to."""
    if pooling == "flatten":
        return math.prod(side or 0 for side in shape[1:])
    return shape[-1] or 0


def _pooling_layer(
    shape: tuple[int | None, ...], pooling: Pooling, gem_p: float, name: str
) -> keras.layers.Layer:
    rank = len(shape)
    options = {"name": name, "dtype": "float32"}
    fixed = {**options, "data_format": "channels_last"}  # whatever keras.json has as its default
    if rank == 2 or pooling == "flatten":
        if None in shape[1:]:
            raise InputError(
                f"flatten needs a fixed size, but the layer gives {shape}; use --input-size"
            )
        return keras.layers.Flatten(**fixed)
    if rank not in (3, 4):
        raise InputError(f"can't pool a layer whose output has shape {tuple(shape)}")
    if pooling == "gem":
        return GeneralizedMeanPooling(gem_p, **options)
    if pooling == "gap":
        return GlobalMeanPooling(**options)
    kinds = {4: keras.layers.GlobalMaxPooling2D, 3: keras.layers.GlobalMaxPooling1D}
    return kinds[rank](**fixed)


def _mean(values: keras.KerasTensor) -> keras.KerasTensor:
    while len(values.shape) > 2:  # one axis at a time: short sums have smaller rounding errors
        values = keras.ops.mean(values, axis=-2)
    return values
