"""Small networks of every kind that people train, with seeded weights."""

from __future__ import annotations

import keras
import numpy as np
from keras import layers


def conv(x, filters, name=None, **options):
    return layers.Conv2D(filters, 3, padding="same", activation="relu", name=name, **options)(x)


def backbone(name="backbone", size=32):
    x = inputs = keras.Input((size, size, 3))
    x = layers.MaxPooling2D(name="pool1")(conv(x, 4, "conv1"))
    x = layers.MaxPooling2D(name="pool2")(conv(x, 8, "conv2"))
    return keras.Model(inputs, x, name=name)


def sequential_layers():
    return [
        layers.Conv2D(4, 3, name="conv1"),
        layers.MaxPooling2D(name="pool1"),
        layers.Conv2D(8, 3, name="conv2"),
        layers.Flatten(),
        layers.Dense(3),
    ]


def sequential():
    return keras.Sequential([keras.Input((32, 32, 3)), *sequential_layers()])


def sequential_without_input_layer():
    model = keras.Sequential(sequential_layers())
    model.build((None, 32, 32, 3))
    return model


def backbone_and_head():
    inputs = keras.Input((32, 32, 3))
    return keras.Model(inputs, layers.Dense(2)(layers.Flatten()(backbone()(inputs))))


def backbone_in_sequential():
    return keras.Sequential(
        [keras.Input((32, 32, 3)), backbone(), layers.GlobalAveragePooling2D(), layers.Dense(2)]
    )


def backbone_two_levels_down():
    inputs = keras.Input((32, 32, 3))
    middle = keras.Sequential(
        [keras.Input((32, 32, 3)), backbone(), layers.Dropout(0.5, name="dropout")]
    )
    return keras.Model(inputs, layers.Dense(2)(layers.Flatten()(middle(inputs))))


def two_backbones_of_the_same_names():
    inputs = keras.Input((32, 32, 3))
    both = [backbone("one")(inputs), backbone("two")(inputs)]
    merged = layers.Concatenate(name="merged")(both)
    return keras.Model(inputs, layers.Dense(2)(layers.Flatten()(merged)))


def unet():
    x = inputs = keras.Input((32, 32, 3))
    skips = []
    for filters in (4, 8):
        x = conv(x, filters, f"down{filters}")
        skips.append(x)
        x = layers.MaxPooling2D(name=f"pool{filters}")(x)
    x = layers.Dropout(0.5, name="bottleneck")(conv(x, 16, "deep"))
    for filters in (8, 4):
        x = layers.Conv2DTranspose(filters, 2, strides=2, name=f"up{filters}")(x)
        x = conv(layers.Concatenate()([skips.pop(), x]), filters)
    return keras.Model(inputs, layers.Conv2D(1, 1)(x))


def pixel_shuffle():
    x = inputs = keras.Input((32, 32, 3))
    x = conv(layers.MaxPooling2D()(conv(x, 4)), 16, "bottleneck")
    x = layers.Reshape((16, 16, 2, 2, 4))(x)
    x = layers.Permute((1, 3, 2, 4, 5))(x)
    return keras.Model(inputs, conv(layers.Reshape((32, 32, 4))(x), 3))


def dense_bottleneck():
    x = inputs = keras.Input((32, 32, 3))
    x = layers.MaxPooling2D(4, name="last_map")(conv(x, 4))
    x = layers.Dense(8 * 8 * 4)(layers.Dense(5, name="latent")(layers.Flatten()(x)))
    x = layers.UpSampling2D(4)(layers.Reshape((8, 8, 4))(x))
    return keras.Model(inputs, conv(x, 3))


def channel_shuffle():
    """Has Reshape layers that do not belong to a decoder."""
    x = inputs = keras.Input((32, 32, 3))
    x = layers.MaxPooling2D()(conv(x, 8))
    x = layers.Reshape((16, 16, 2, 4))(x)
    x = layers.Reshape((16, 16, 8))(layers.Permute((1, 2, 4, 3))(x))
    x = conv(x, 8, "last")
    return keras.Model(inputs, layers.Dense(2)(layers.GlobalAveragePooling2D()(x)))


def batch_norm_and_dropout():
    x = inputs = keras.Input((32, 32, 3))
    for number in (1, 2):
        x = layers.BatchNormalization(trainable=bool(number % 2))(conv(x, 4))
        x = layers.MaxPooling2D(name=f"pool{number}")(layers.SpatialDropout2D(0.5)(x))
    return keras.Model(inputs, layers.Dense(2)(layers.Flatten()(x)))


def shared_layer():
    x = inputs = keras.Input((32, 32, 3))
    again = layers.Conv2D(3, 3, padding="same", activation="tanh", name="again")
    for _ in range(3):
        x = again(x)
    x = layers.MaxPooling2D(name="pool")(x)
    return keras.Model(inputs, layers.Dense(2)(layers.Flatten()(x)))


def two_outputs():
    x = inputs = keras.Input((32, 32, 3))
    x = layers.MaxPooling2D(name="pool")(conv(x, 4))
    flat = layers.GlobalAveragePooling2D()(x)
    return keras.Model(inputs, [layers.Dense(2)(flat), layers.Dense(3)(flat)])


def any_size():
    x = inputs = keras.Input((None, None, 3))
    x = layers.MaxPooling2D(name="pool")(conv(x, 4))
    x = conv(layers.UpSampling2D()(x), 3)
    return keras.Model(inputs, x)


def rescaling_inside():
    x = inputs = keras.Input((32, 32, 3))
    x = layers.Rescaling(1 / 255, name="scale")(x)
    x = layers.MaxPooling2D(name="pool")(conv(x, 4))
    return keras.Model(inputs, layers.Dense(2)(layers.Flatten()(x)))


def preprocess_input_inside():
    inputs = keras.Input((32, 32, 3))
    x = keras.applications.vgg16.preprocess_input(inputs)
    return keras.Model(inputs, layers.Dense(2)(layers.Flatten()(backbone()(x))))


def siamese():
    """One tower for two images, and a third input of numbers."""
    left, right = (keras.Input((32, 32, 3), name=name) for name in ("left", "right"))
    numbers = keras.Input((4,), name="numbers")
    tower = backbone("tower")
    joined = layers.Concatenate(name="joined")(
        [*(layers.GlobalAveragePooling2D()(tower(side)) for side in (left, right)), numbers]
    )
    return keras.Model([left, right, numbers], layers.Dense(1)(joined), name="siamese")


def attention_unet():
    """The gate at the smallest size depends on the bottleneck. It is not the encoder's end."""
    x = inputs = keras.Input((32, 32, 3))
    skip = conv(x, 4)
    x = bottleneck = conv(layers.MaxPooling2D()(skip), 8, "bottleneck")
    gate = layers.Add()([layers.Conv2D(8, 1, strides=2)(skip), layers.Conv2D(8, 1)(bottleneck)])
    gate = layers.Conv2D(1, 1, activation="sigmoid")(layers.ReLU()(gate))
    gated = layers.Multiply()([skip, layers.UpSampling2D()(gate)])
    x = layers.Conv2DTranspose(4, 2, strides=2)(x)
    return keras.Model(inputs, conv(layers.Concatenate()([x, gated]), 1))


def squeeze_and_excite():
    x = inputs = keras.Input((32, 32, 3))
    x = conv(layers.MaxPooling2D()(conv(x, 4)), 8)
    gate = keras.ops.mean(x, (1, 2), keepdims=True)
    gate = layers.Conv2D(8, 1, activation="sigmoid")(gate)
    x = layers.Multiply(name="last")([x, gate])
    return keras.Model(inputs, layers.Dense(2)(layers.GlobalAveragePooling2D()(x)))


def two_halves():
    """A layer with two outputs can't be the end of the encoder."""
    x = inputs = keras.Input((32, 32, 3))
    x = layers.MaxPooling2D(name="pool")(conv(x, 4))
    half = keras.ops.split(x, 2, -1)[1]
    return keras.Model(inputs, layers.Dense(2)(layers.Flatten()(half)))


def operations():
    """Has operations with the names of layers."""
    x = inputs = keras.Input((32, 32, 3))
    x = layers.MaxPooling2D()(conv(x, 4))
    x = keras.ops.concatenate([x, keras.ops.softmax(x)], -1)
    x = keras.ops.reshape(keras.ops.reshape(x + 1.0, (-1, 256, 8)), (-1, 16, 16, 8))
    x = conv(x, 4, "last")
    return keras.Model(inputs, layers.Dense(2)(layers.Flatten()(x)))


# Network -> the layer that auto has to find.
EXPECTED = {
    sequential: "conv2",
    sequential_without_input_layer: "conv2",
    backbone_and_head: "backbone/pool2",
    backbone_in_sequential: "backbone/pool2",
    backbone_two_levels_down: "dropout",
    two_backbones_of_the_same_names: "merged",
    unet: "bottleneck",
    pixel_shuffle: "bottleneck",
    dense_bottleneck: "last_map",
    channel_shuffle: "last",
    batch_norm_and_dropout: "pool2",
    shared_layer: "pool",
    two_outputs: "pool",
    any_size: "pool",
    rescaling_inside: "pool",
    preprocess_input_inside: "backbone/pool2",
    attention_unet: "bottleneck",
    squeeze_and_excite: "last",
    two_halves: "pool",
    operations: "last",
}


def varied(model):
    """The model with biases and moving statistics as training leaves them; zeros hide faults."""
    rng = np.random.default_rng(1)
    for weight in model.weights:
        value = np.asarray(weight)
        if "moving_variance" in weight.path or "gamma" in weight.path:
            weight.assign(rng.uniform(0.5, 2, value.shape))
        elif any(each in weight.path for each in ("bias", "beta", "moving_mean", "alpha")):
            weight.assign(value + 0.1 * rng.normal(size=value.shape))
    return model
