"""The list of layers against the Keras that is installed."""

import inspect

import keras
import pytest

import encoder
from encoder.errors import InputError
from encoder.model_files.configs.known_classes import LAYERS, is_known, is_own
from encoder.model_files.load import load_model

# They run code of the file, or open other files: see known_classes.
REFUSED = {
    *("FlaxLayer", "IntegerLookup", "JaxLayer", "Lambda", "StringLookup", "TFSMLayer"),
    *("TextVectorization", "TorchModuleWrapper"),
}


def test_every_layer_of_keras_is_listed_or_refused():
    """A new version of Keras with a new layer makes this fail: read what the layer does."""
    found = {
        name
        for name, kind in vars(keras.layers).items()
        if inspect.isclass(kind) and issubclass(kind, keras.layers.Layer)
    }
    assert found - LAYERS == REFUSED
    assert not any(is_known(name, module) for name in REFUSED for module in (None, "keras.layers"))


@pytest.mark.parametrize(
    ("name", "module"),
    [
        ("Dense", "keras.layers"),
        ("Dense", None),
        ("Dense", "keras.src.layers.core.dense"),
        ("Functional", "keras.src.models.functional"),
        ("Functional", "keras.src.engine.functional"),
        ("Functional", "tf_keras.src.engine.functional"),
        ("Sequential", "keras"),
        ("GlorotUniform", "keras.initializers"),
        ("DTypePolicy", "keras"),
        ("Policy", "keras.mixed_precision"),
        ("Add", "keras.src.ops.numpy"),
        ("TFOpLambda", "tf_keras.src.layers.core.tf_op_layer"),
        ("SeedGenerator", "keras.random"),
    ],
)
def test_what_keras_writes_is_known(name, module):
    assert is_known(name, module)


def test_our_own_classes_have_exactly_the_names_that_we_register():
    assert encoder.get_encoder  # registers them
    name, module = "GlobalMeanPooling", "encoder.network.pooling"
    assert is_own(name, module, f"encoder>{name}")
    assert is_own(f"encoder>{name}", None, None)
    for odd in (f"my_encoder>{name}", f"encoder>{name}x", f"x>encoder>{name}", "encoder>", None):
        assert not is_own(name, module, odd)
    assert not is_own(name, "encoders.network.pooling", f"encoder>{name}")


def models():
    image = keras.Input((32, 32, 3))

    def ended(x):
        return keras.Model(image, keras.layers.UpSampling2D()(keras.layers.MaxPooling2D()(x)))

    conv = keras.layers.Conv2D(
        4,
        3,
        activation="leaky_relu",
        kernel_regularizer="l2",
        kernel_constraint="max_norm",
        kernel_initializer=keras.initializers.HeNormal(seed=keras.random.SeedGenerator(3)),
        dtype="mixed_float16",
    )
    yield "settings of many kinds", ended(conv(image))
    x = keras.layers.Normalization(mean=[1, 2, 3], variance=[1, 1, 1])(image)
    x = keras.layers.RandomFlip(seed=1)(x)
    yield "preprocessing", ended(keras.layers.Dropout(0.1)(keras.layers.Rescaling(1 / 255)(x)))
    x = keras.ops.sqrt(keras.ops.abs(image[..., :2] / 2 + 1))
    yield "operations", ended(keras.ops.concatenate([x, x], axis=-1))
    inner = keras.Sequential([keras.Input((32, 3)), keras.layers.Dense(4)])
    yield "a model in a wrapper", ended(keras.layers.TimeDistributed(inner)(image))
    x = keras.layers.Activation(keras.layers.LeakyReLU(0.3))(image)
    yield (
        "a layer as activation",
        ended(keras.layers.SpectralNormalization(conv.__class__(2, 3))(x)),
    )


@pytest.mark.filterwarnings("ignore:You are saving your model as an HDF5 file")
def test_models_of_keras_alone_need_no_trust(tmp_path):
    for number, (what, model) in enumerate(models()):
        model.save(tmp_path / f"{number}.keras")
        try:
            load_model(tmp_path / f"{number}.keras")
        except InputError as error:
            pytest.fail(f"{what}: {error}")
