"""Each kind of layer computes the same in ncnn's form; what does not is refused by name."""

import keras
import numpy as np
import pytest
from keras import layers as of

from encoder.compute.engines.ncnn.convert import convert
from encoder.compute.engines.ncnn.engine import NcnnEngine
from encoder.compute.engines.ncnn.layers.reading import NotConvertibleError
from encoder.network.cut import Recipe, cut_encoder
from encoder.network.pool_numpy import pool_numpy
from encoder.network.preprocess import preprocess_numpy
from encoder.spec import EncoderSpec
from tests.support.networks import varied

HEIGHT, WIDTH = 19, 14


def conv(x, channels=8, size=3, **options):
    return of.Conv2D(channels, size, padding="same", **options)(x)


def squeeze(x):
    """Squeeze and excitation, as in EfficientNet."""
    y = conv(x, 8)
    weights = of.Reshape((1, 1, 8))(of.GlobalAveragePooling2D()(y))
    weights = of.Conv2D(8, 1, activation="sigmoid")(of.Conv2D(2, 1, activation="silu")(weights))
    return of.Multiply()([y, weights])


def residual(x):
    y = conv(x)
    return of.ReLU()(of.Add()([y, of.BatchNormalization()(conv(y, use_bias=False))]))


def shared(x):
    """Others read a convolution's output, too: nothing may be folded into it."""
    y = conv(x)
    return of.Concatenate()([of.BatchNormalization()(y), of.ReLU()(y), of.Dropout(0.5)(y), y])


def read_through_dropout(x):
    y = conv(x)
    return of.Add()([of.ReLU()(of.Dropout(0.5)(y)), of.Activation("linear")(y)])


def twice(x):
    layer = of.Conv2D(3, 3, padding="same", activation="tanh")
    return of.Concatenate(axis=1)([layer(layer(x)), x])


def nested(x):
    inner = keras.Input((HEIGHT, WIDTH, 8))
    block = keras.Model(inner, of.MaxPooling2D()(conv(inner)), name="backbone")
    return keras.Sequential([block, of.Conv2D(4, 1)])(conv(x))


def unet(x):
    one = conv(x, activation="relu")
    two = conv(of.MaxPooling2D(padding="same")(one), activation="relu")
    up = of.Cropping2D(((1, 0), (0, 0)))(of.UpSampling2D()(two))
    return conv(of.Concatenate()([one, up]))


NETWORKS = {
    **{
        f"convolution {size} {strides} {padding}": lambda x, s=size, t=strides, p=padding: (
            of.Conv2D(5, s, strides=t, padding=p, activation="relu")(x)
        )
        for size in (1, 2, 3, (5, 3), 7)
        for strides in (1, 2, (1, 3))
        for padding in ("same", "valid")
    },
    "dilated": lambda x: conv(x, dilation_rate=2),
    "groups": lambda x: conv(conv(x, 6), 9, groups=3),
    "without a bias": lambda x: conv(x, use_bias=False),
    "depthwise": lambda x: of.DepthwiseConv2D(3, padding="same", activation="relu6")(conv(x)),
    "depthwise, strides": lambda x: of.DepthwiseConv2D(3, strides=2, padding="same")(conv(x)),
    "depthwise, 3 each": lambda x: of.DepthwiseConv2D(3, depth_multiplier=3)(x),
    "separable": lambda x: of.SeparableConv2D(6, 3, depth_multiplier=2, activation="elu")(x),
    **{
        f"transposed {size} {strides} {padding}": (
            lambda x, s=size, t=strides, p=padding: of.Conv2DTranspose(
                4, s, strides=t, padding=p, activation="relu"
            )(x)
        )
        for size, strides in ((2, 2), (3, 2), (4, 2), (3, 1))
        for padding in ("same", "valid")
    },
    "dense on pixels": lambda x: of.Dense(5, activation="gelu")(conv(x)),
    "dense on a vector": lambda x: of.Dense(7, activation="tanh")(of.Flatten()(conv(x))),
    "dense on a sequence": lambda x: of.Dense(7)(of.Reshape((-1, 8))(conv(x))),
    **{
        f"{kind.__name__} {size} {strides} {padding}": (
            lambda x, k=kind, s=size, t=strides, p=padding: k(s, t, padding=p)(conv(x))
        )
        for kind in (of.MaxPooling2D, of.AveragePooling2D)
        for size, strides in ((2, None), (3, 1), (3, 2), ((2, 3), (2, 1)))
        for padding in ("same", "valid")
    },
    "global average": lambda x: of.GlobalAveragePooling2D()(conv(x)),
    "global average, kept": lambda x: conv(x) * of.GlobalAveragePooling2D(keepdims=True)(conv(x)),
    "global maximum": lambda x: of.GlobalMaxPooling2D(keepdims=True)(conv(x)),
    "batch normalization, folded": lambda x: of.BatchNormalization()(conv(x)),
    "batch normalization first": lambda x: conv(of.BatchNormalization(scale=False)(x)),
    "batch normalization after relu": lambda x: of.BatchNormalization(center=False)(
        conv(x, activation="relu")
    ),
    "batch normalization of a vector": lambda x: of.BatchNormalization()(
        of.Dense(5)(of.GlobalAveragePooling2D()(conv(x)))
    ),
    "layer normalization": lambda x: of.LayerNormalization()(conv(x)),
    "layer normalization, bare": lambda x: of.LayerNormalization(scale=False, center=False)(
        conv(x)
    ),
    "layer normalization of a vector": lambda x: of.LayerNormalization()(
        of.GlobalAveragePooling2D()(conv(x))
    ),
    "group normalization": lambda x: of.GroupNormalization(4)(conv(x)),
    "rescaling": lambda x: conv(of.Rescaling(1 / 127.5, -1)(x)),
    "rescaling by channel": lambda x: conv(of.Rescaling([0.1, 0.2, 0.3], [1, 2, 3])(x)),
    "normalization": lambda x: conv(of.Normalization(mean=[1, 2, 3], variance=[4, 5, 6])(x)),
    "arithmetic": lambda x: conv((255.0 - x) / 127.5 * 2.0 - np.float32([0.1, 0.2, 0.3])),
    "minus": lambda x: conv(-x + 1.0),
    "other order of channels": lambda x: conv(x[..., ::-1]),
    "some channels": lambda x: conv(x[:, :, :, 1:3]),
    "extremes": lambda x: keras.ops.maximum(keras.ops.minimum(conv(x), 0.5), -0.5),
    **{
        f"activation {name}": lambda x, n=name: of.Activation(n)(of.MaxPooling2D()(conv(x)))
        for name in (
            *("relu", "relu6", "leaky_relu", "sigmoid", "tanh", "silu", "hard_sigmoid"),
            *("hard_silu", "hard_tanh", "mish", "gelu", "elu", "selu", "softplus", "linear"),
            *("exponential", "softmax"),
        )
    },
    **{
        f"activation {name} inside": lambda x, n=name: conv(conv(x, activation=n))
        for name in ("relu", "relu6", "leaky_relu", "sigmoid", "hard_silu", "mish", "silu")
    },
    "relu of ops": lambda x: keras.ops.relu(conv(x)),
    "relu with a limit": lambda x: of.ReLU(3.0)(conv(x)),
    "relu with a slope": lambda x: of.ReLU(negative_slope=0.1)(conv(x)),
    "leaky relu": lambda x: of.LeakyReLU(0.3)(conv(x)),
    "prelu": lambda x: of.PReLU(shared_axes=[1, 2])(conv(x)),
    "elu": lambda x: of.ELU(0.7)(conv(x)),
    "softmax along": lambda x: of.Softmax(axis=1)(conv(x)),
    "zero padding": lambda x: of.Conv2D(4, 3)(of.ZeroPadding2D(((1, 2), (0, 3)))(x)),
    "cropping": lambda x: of.Cropping2D(((2, 1), (0, 3)))(conv(x)),
    "up sampling": lambda x: of.UpSampling2D((2, 3))(conv(x)),
    "up sampling, bilinear": lambda x: of.UpSampling2D(2, interpolation="bilinear")(conv(x)),
    "subtract": lambda x: of.Subtract()([conv(x), conv(x)]),
    "average of three": lambda x: of.Average()([conv(x), conv(x), conv(x)]),
    "minimum and maximum": lambda x: of.Minimum()([of.Maximum()([conv(x), conv(x)]), conv(x)]),
    "reshape": lambda x: of.Reshape((WIDTH, HEIGHT, 8))(conv(x)),
    "reshape to less": lambda x: of.Reshape((HEIGHT * 2, -1, 8))(conv(x)),
    "augmentation": lambda x: conv(of.RandomFlip()(of.RandomRotation(0.1)(of.GaussianNoise(1)(x)))),
    "squeeze and excitation": squeeze,
    "residual": residual,
    "shared": shared,
    "read through dropout": read_through_dropout,
    "twice": twice,
    "nested": nested,
    "u-net": unet,
}
REFUSED = {
    "attention": (
        lambda x: of.MultiHeadAttention(2, 4, name="look")(*[of.Reshape((-1, 3))(x)] * 2),
        r"'look' \(MultiHeadAttention\) is of a kind that ncnn lacks",
    ),
    "an unknown activation": (
        lambda x: conv(x, activation=keras.ops.square, name="own"),
        r"'own' \(Conv2D\) has the activation 'square'",
    ),
    "half precision": (
        lambda x: conv(x, dtype="mixed_bfloat16", name="half"),
        r"'half' \(Conv2D\) computes in bfloat16",
    ),
    "a slope each": (lambda x: of.PReLU(name="p")(conv(x)), r"'p' \(PReLU\) has slopes of shape"),
    "a threshold": (lambda x: of.ReLU(threshold=1.0, name="t")(x), r"'t' \(ReLU\) has a threshold"),
    "another axis": (
        lambda x: of.BatchNormalization(axis=1, name="bn")(x),
        r"'bn' \(BatchNormalization\) works along axis 1",
    ),
    "bicubic": (
        lambda x: of.UpSampling2D(interpolation="bicubic", name="up")(x),
        r"'up' \(UpSampling2D\) has the interpolation 'bicubic'",
    ),
    "positions": (lambda x: x[:, 2:5], r"\(GetItem\) takes "),
}


@keras.saving.register_keras_serializable(package="tests")
class ReLU(of.Layer):
    """A layer of a user whose name is that of a layer of Keras."""

    def call(self, inputs):
        return inputs * 2


def network(build, channels=3):
    keras.utils.set_random_seed(1)
    image = keras.Input((HEIGHT, WIDTH, channels))
    model = varied(keras.Model(image, build(image)))
    has_nested = any(isinstance(layer, keras.Model) for layer in model.layers)
    return cut_encoder(model, Recipe(-1)).backbone if has_nested else model


def spec_of(model, pooling="flatten"):
    shapes = [each.shape[1:] for each in model.outputs]
    dims = [int(np.prod(each)) if pooling == "flatten" else each[-1] for each in shapes]
    stops = np.cumsum(dims).tolist()
    return EncoderSpec(
        id="0" * 16,
        source="",
        source_sha256="",
        layers=tuple(f"layer{number}" for number in range(len(dims))),
        slices=tuple(zip([0, *stops[:-1]], stops, strict=True)),
        pooling=pooling,
        gem_p=3.0 if pooling == "gem" else None,
        normalize=False,
        dim=sum(dims),
        height=model.input_shape[1],
        width=model.input_shape[2],
        channels=model.input_shape[3],
        preprocess="unit",
        resize="bilinear",
        fit="stretch",
        decode="exact",
        background=(0, 0, 0),
        precision="float32",
        max_difference=0.0,
        versions={},
    )


def difference(model, pooling="flatten"):
    spec = spec_of(model, pooling)
    converted = convert(model)
    images = np.random.default_rng(1).integers(0, 256, (3, *model.input_shape[1:]), np.uint8)
    found = NcnnEngine(converted.param, converted.weights, spec).copies[0](images)()
    outputs = model(preprocess_numpy(images, "unit"), training=False)
    maps = [np.asarray(each) for each in (outputs if isinstance(outputs, list) else [outputs])]
    expected = pool_numpy(maps, pooling, False, spec.gem_p)
    assert found.shape == expected.shape == (3, spec.dim)
    assert np.abs(expected).max() > 0
    return np.abs(found - expected).max() / np.abs(expected).max()


@pytest.mark.parametrize("name", NETWORKS)
def test_it_computes_the_same(name):
    assert difference(network(NETWORKS[name])) < 1e-5


@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize("pooling", ["gap", "max", "gem", "flatten"])
def test_several_taps_with_every_pooling(channels, pooling):
    keras.utils.set_random_seed(1)
    image = keras.Input((HEIGHT, WIDTH, channels))
    one = conv(image, activation="relu")
    two = of.BatchNormalization()(one)
    vector = of.Dense(5)(of.GlobalAveragePooling2D()(two))
    sequence = of.Reshape((-1, 8))(of.MaxPooling2D()(two))
    taps = [one, two, vector, one, *([sequence] if pooling != "max" else [])]
    assert difference(varied(keras.Model(image, taps)), pooling) < 1e-5


@pytest.mark.parametrize("name", REFUSED)
def test_what_it_lacks_is_refused_by_name(name):
    build, said = REFUSED[name]
    with pytest.raises(NotConvertibleError, match=said):
        convert(network(build))


def test_a_layer_with_settings_that_nobody_foresaw_is_refused_by_name():
    model = network(lambda x: conv(x, name="odd"))
    del model.get_layer("odd").groups
    with pytest.raises(
        NotConvertibleError, match=r"'odd' \(Conv2D\) has settings that were not fore"
    ):
        convert(model)


def test_a_class_of_a_user_is_not_taken_for_one_of_keras():
    with pytest.raises(NotConvertibleError, match=r"\(ReLU\) is of a kind that ncnn lacks"):
        convert(network(lambda x: ReLU()(conv(x))))


def test_an_image_itself_can_be_read():
    image = keras.Input((HEIGHT, WIDTH, 3))
    model = keras.Model(image, [image, of.MaxPooling2D()(image)])
    assert difference(model) == 0
