"""Small networks whose last feature map, or only one, is not the end of an encoder."""

from __future__ import annotations

import keras
from keras import layers, ops


def conv(x, filters, size=3, name=None, activation="relu", **options):
    return layers.Conv2D(
        filters, size, padding="same", name=name, activation=activation, **options
    )(x)


def image(size=32, channels=3):
    return keras.Input((size, size, channels))


def all_cnn():
    """Springenberg et al. 2014: the last convolution has a channel for each class."""
    inputs = image()
    x = conv(conv(inputs, 16, strides=2), 24, 1, "features")
    x = layers.GlobalAveragePooling2D()(conv(x, 10, 1, "scores"))
    return keras.Model(inputs, layers.Activation("softmax")(x))


def scores_without_softmax():
    inputs = image()
    x = layers.BatchNormalization()(conv(inputs, 16, strides=2, activation=None))
    x = conv(layers.ReLU(name="features")(x), 10, 1, activation=None)
    return keras.Model(inputs, layers.GlobalAveragePooling2D()(x))


def more_classes_than_channels():
    """SqueezeNet: 1,000 classes from 512 channels."""
    inputs = image()
    x = layers.MaxPooling2D()(conv(inputs, 8))
    x = layers.Concatenate()([conv(x, 8, 1), conv(x, 8)])
    x = conv(layers.Dropout(0.5, name="features")(x), 50, 1, activation=None)
    x = layers.GlobalAveragePooling2D()(layers.Activation("relu")(x))
    return keras.Model(inputs, layers.Activation("softmax")(x))


def normalized_scores():
    """Network in network, with a pooling of fixed size."""
    inputs = image()
    x = conv(conv(inputs, 16, strides=2), 16, 1, "features")
    x = layers.ReLU()(layers.BatchNormalization()(conv(x, 10, 1, activation=None)))
    x = layers.Flatten()(layers.AveragePooling2D(16)(x))
    return keras.Model(inputs, layers.Softmax()(x))


def _fcn(enlarge, last):
    inputs = x = image()
    skips = []
    for filters in (8, 16):
        x = layers.MaxPooling2D()(conv(x, filters))
        skips.append(conv(x, 5, 1, activation=None))
    x = layers.Dropout(0.5, name="features")(conv(layers.MaxPooling2D()(x), 32, 7))
    x = conv(x, 5, 1, activation=None)
    for skip in reversed(skips):
        x = layers.Add()([enlarge()(x), skip])
    return keras.Model(inputs, last(enlarge()(x)))


def fcn_learned():
    """FCN-8s: maps of class scores at three sizes, made larger by layers with weights."""
    return _fcn(
        lambda: layers.Conv2DTranspose(5, 4, strides=2, padding="same"),
        layers.Activation("softmax"),
    )


def fcn_bilinear():
    return _fcn(lambda: layers.UpSampling2D(2), lambda x: x)


def patch_discriminator():
    inputs = image()
    x = layers.LeakyReLU(name="features")(conv(inputs, 16, 4, activation=None, strides=2))
    return keras.Model(inputs, conv(x, 1, 4, activation=None))


def detector():
    """YOLO: a grid of boxes."""
    inputs = image()
    x = conv(conv(inputs, 16, strides=4), 32, name="features")
    return keras.Model(inputs, layers.Reshape((8, 8, 5, 9))(conv(x, 45, 1, activation=None)))


def detector_of_two_sizes():
    """SSD: heads for scores and for boxes at two sizes."""
    inputs = image()
    large = conv(inputs, 32, strides=4)
    small = conv(large, 32, strides=2, name="features")
    heads = [
        layers.Concatenate(axis=1)(
            [
                layers.Reshape((-1, count))(conv(each, 4 * count, activation=None))
                for each in (large, small)
            ]
        )
        for count in (3, 4)
    ]
    return keras.Model(inputs, [layers.Softmax()(heads[0]), heads[1]])


def same_size_segmentation():
    inputs = image()
    return keras.Model(inputs, conv(conv(inputs, 8, name="features"), 5, 1, activation="softmax"))


def super_resolution():
    """ESPCN: the channels of the last map become pixels."""
    inputs = image(channels=1)
    x = conv(conv(inputs, 16, name="features"), 4, activation=None)
    x = layers.Permute((1, 3, 2, 4, 5))(layers.Reshape((32, 32, 2, 2, 1))(x))
    return keras.Model(inputs, layers.Reshape((64, 64, 1))(x))


def _attention(x, channels=8, heads=2):
    """As people write it with operations: (n, heads, channels) has four axes, like an image."""
    count = x.shape[1]
    query, key, value = (
        ops.transpose(
            ops.reshape(layers.Dense(channels)(x), (-1, count, heads, channels // heads)),
            (0, 2, 1, 3),
        )
        for _ in range(3)
    )
    weights = ops.softmax(ops.matmul(query, ops.transpose(key, (0, 1, 3, 2))))
    x = ops.transpose(ops.matmul(weights, value), (0, 2, 1, 3))
    return layers.Dense(channels)(ops.reshape(x, (-1, count, channels)))


def _transformer(head, by_hand=False):
    inputs = image()
    x = layers.Conv2D(8, 8, strides=8, name="patches")(inputs)
    x = layers.Reshape((16, 8))(x)
    for _ in range(2):
        y = layers.LayerNormalization()(x)
        y = _attention(y) if by_hand else layers.MultiHeadAttention(2, 4)(y, y)
        x = layers.Add()([x, y])
        y = layers.Dense(8)(layers.Dense(16, "gelu")(layers.LayerNormalization()(x)))
        x = layers.Add()([x, y])
    return keras.Model(inputs, head(layers.LayerNormalization(name="features")(x)))


def transformer():
    return _transformer(lambda x: layers.Dense(3)(layers.GlobalAveragePooling1D()(x)))


def transformer_flattened():
    return _transformer(lambda x: layers.Dense(3)(layers.Flatten()(x)))


def transformer_by_hand():
    return _transformer(lambda x: layers.Dense(3)(ops.mean(x, 1)), by_hand=True)


def transformer_without_head():
    return _transformer(lambda x: x)


def transformer_class_token():
    return _transformer(lambda x: layers.Dense(3)(x[:, 0]))


def transformer_two_tokens():
    """DeiT: a class token and a distillation token."""
    return _transformer(
        lambda x: layers.Average()([layers.Dense(3)(x[:, place]) for place in (0, 1)])
    )


def transformer_and_decoder():
    """SETR: the tokens become a feature map again, which a decoder takes."""
    return _transformer(
        lambda x: conv(
            layers.UpSampling2D(8)(layers.Reshape((4, 4, 8), name="again")(x)),
            2,
            1,
            activation="softmax",
        )
    )


def mixer():
    inputs = image()
    x = layers.Reshape((16, 8))(layers.Conv2D(8, 8, strides=8)(inputs))
    for _ in range(2):
        y = layers.Permute((2, 1))(layers.LayerNormalization()(x))
        x = layers.Add()([x, layers.Permute((2, 1))(layers.Dense(16)(y))])
        x = layers.Add()([x, layers.Dense(8, "gelu")(layers.LayerNormalization()(x))])
    x = layers.LayerNormalization(name="features")(x)
    return keras.Model(inputs, layers.Dense(3)(layers.GlobalAveragePooling1D()(x)))


def few_layers_on_tokens():
    """Text recognition: convolutions, then one recurrent layer over the columns."""
    inputs = x = image(channels=1)
    for filters in (4, 8, 16):
        x = layers.MaxPooling2D((2, 1), name=f"pool{filters}")(conv(x, filters))
    x = layers.Reshape((32, 64))(layers.Permute((2, 1, 3), name="features")(x))
    x = layers.LSTM(8, return_sequences=True)(x)
    return keras.Model(inputs, layers.Dense(9, "softmax")(x))


def split_channels():
    """ShuffleNet: half of the channels pass a block as they are."""
    inputs = image()
    left, right = ops.split(conv(inputs, 8, strides=2), 2, -1)
    x = layers.Concatenate(name="features")([left, conv(right, 4)])
    return keras.Model(inputs, layers.Dense(3)(layers.GlobalAveragePooling2D()(x)))


def gate_at_the_end():
    """A sigmoid that scales channels is no answer."""
    inputs = image()
    x = conv(inputs, 8, strides=2)
    gate = layers.GlobalAveragePooling2D(keepdims=True)(x)
    gate = conv(gate, 8, 1, activation="sigmoid")
    return keras.Model(inputs, layers.Multiply(name="features")([x, gate]))


def residual_at_the_end():
    inputs = image()
    x = conv(inputs, 8, strides=2)
    y = conv(conv(x, 4, 1), 8, 1, activation=None)
    return keras.Model(inputs, layers.Add(name="features")([x, y]))


def padded_blocks():
    """ResNet50V2: a block pads its map before the convolution."""
    inputs = image()
    x = conv(inputs, 8, strides=4)
    for _ in range(2):
        y = layers.Conv2D(8, 3)(layers.ZeroPadding2D()(layers.ReLU()(x)))
        x = layers.Add()([x, y])
    x = layers.GlobalAveragePooling2D()(layers.ReLU(name="features")(x))
    return keras.Model(inputs, layers.Dense(3)(x))


def one_layer_of_scores():
    """Nothing is left without the answer."""
    inputs = image()
    x = conv(inputs, 2, 1, "features", activation="softmax")
    return keras.Model(inputs, layers.GlobalAveragePooling2D()(x))


def denoiser(any_size=False):
    """DnCNN: no layer makes the image smaller."""
    inputs = image(channels=1, size=None if any_size else 32)
    x = layers.BatchNormalization()(conv(conv(inputs, 8, name="first"), 8, name="second"))
    return keras.Model(inputs, layers.Subtract()([inputs, conv(x, 1, activation=None)]))


def restoration():
    """SRCNN: an image, directly."""
    inputs = image()
    x = conv(conv(inputs, 8, 9, "first"), 4, 1, "second")
    return keras.Model(inputs, conv(x, 3, 5, activation="sigmoid"))


def perceptron():
    inputs = image(8, 1)
    x = layers.Dense(16, "relu", name="first")(layers.Flatten()(inputs))
    return keras.Model(inputs, layers.Dense(3)(layers.Dense(12, "relu", name="second")(x)))


# Network -> the layer that auto has to find.
EXPECTED = {
    all_cnn: "features",
    scores_without_softmax: "features",
    more_classes_than_channels: "features",
    normalized_scores: "features",
    fcn_learned: "features",
    fcn_bilinear: "features",
    patch_discriminator: "features",
    detector: "features",
    detector_of_two_sizes: "features",
    same_size_segmentation: "features",
    super_resolution: "features",
    transformer: "features",
    transformer_flattened: "features",
    transformer_by_hand: "features",
    transformer_without_head: "features",
    transformer_class_token: "get_item",
    transformer_and_decoder: "again",
    mixer: "features",
    few_layers_on_tokens: "features",
    split_channels: "features",
    gate_at_the_end: "features",
    residual_at_the_end: "features",
    padded_blocks: "features",
    one_layer_of_scores: "features",
}
