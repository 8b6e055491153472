"""Layers that need code, and what lies behind them, are left out; the others compute the same."""

import json
import pathlib
import subprocess
import sys
import zipfile

import h5py
import keras
import numpy as np
import pytest

import encoder
from encoder.__main__ import main
from encoder.errors import InputError
from encoder.model_files.configs.safety import drop_training
from encoder.model_files.load import load_model
from tests.encoder.model_files import hostile
from tests.encoder.model_files.hostile import chain

pytestmark = pytest.mark.filterwarnings("ignore:You are saving your model as an HDF5 file")

# Networks for Keras 3 and, as K = tf_keras, for Keras 2. Each function returns a network and the
# name of its tap for auto. The code of the odd layers would write the file "canary".
NETWORKS = '''
import numpy as np
L = K.layers


class Sampling(L.Layer):
    def call(self, inputs):
        return inputs[0] + inputs[1]


class Gate(L.Layer):
    def __init__(self, **options):
        super().__init__(**options)
        self.inner = L.Conv2D(8, 1)

    def call(self, inputs):
        return self.inner(inputs[0]) * inputs[1]


class Penalty(K.regularizers.Regularizer):
    def __call__(self, weights):
        return 0.0

    def get_config(self):
        return {}


class Trained(K.Model):
    def train_step(self, data):
        return {}


class Chain(K.Sequential):
    pass


def doubled(x):
    return x * 2


def sample(kind):
    if kind == "lambda":
        code = eval(f"lambda x: (open({CANARY!r}, 'w').close(), x[0])[1]")
        return L.Lambda(code, output_shape=(2,), name="z")
    return Sampling(name="z")


def autoencoder(kind, is_nested):
    x = inputs = K.Input((16, 16, 1))
    for filters in (4, 6):
        x = L.Conv2D(filters, 3, strides=2, padding="same", name=f"conv{filters}")(x)
        x = L.BatchNormalization()(x)
    x = L.Dense(8)(L.Flatten()(x))
    mean, spread = L.Dense(2, name="mean")(x), L.Dense(2, name="spread")(x)
    z = sample(kind)([mean, spread])
    if is_nested:
        z = K.Model(inputs, [mean, spread, z], name="encoder")(inputs)[2]
    code = K.Input((2,))
    x = L.Reshape((4, 4, 1))(L.Dense(16)(code))
    decoder = K.Model(code, L.Conv2DTranspose(1, 3, strides=4, padding="same")(x), name="decoder")
    return K.Model(inputs, decoder(z))


def gated():
    inputs = K.Input((16, 16, 1))
    skip = L.Conv2D(8, 3, padding="same")(inputs)
    bottom = L.Conv2D(6, 3, padding="same", name="bottom")(L.MaxPooling2D()(skip))
    up = L.Conv2D(8, 1)(L.UpSampling2D()(bottom))
    return K.Model(inputs, L.Conv2D(1, 1)(Gate(name="gate")([skip, up])))


def sequential():
    return K.Sequential([
        K.Input((16, 16, 1)), L.Conv2D(4, 3, kernel_regularizer=Penalty()),
        L.MaxPooling2D(name="pool"), L.Flatten(), L.Dense(4, activation=doubled, name="odd"),
        L.Dense(2)])


def graph(model):
    inputs = K.Input((16, 16, 1))
    x = L.MaxPooling2D(name="pool")(L.Conv2D(4, 3, name="conv")(inputs))
    return model(inputs, L.Dense(2)(L.Flatten()(x)), name="inner")


def outer():
    inputs = K.Input((16, 16, 1))
    return K.Model(inputs, L.Dense(2)(graph(Trained)(inputs)))


def chain():
    return Chain([K.Input((16, 16, 1)), L.Conv2D(4, 3), L.MaxPooling2D(name="pool"), L.Flatten(),
                  L.Dense(2)])


MAKERS = {
    **{f"vae-{kind}-{where}": (lambda kind=kind, where=where: autoencoder(kind, where == "nested"))
       for kind in ("lambda", "class") for where in ("flat", "nested")},
    "gated": gated,
    "sequential": sequential,
    "graph": lambda: graph(Trained),
    "outer": outer,
    "chain": chain,
}
TAPS = {"vae-lambda-flat": "batch_normalization_1", "vae-class-flat": "batch_normalization_1",
        "vae-lambda-nested": "batch_normalization_1", "vae-class-nested": "batch_normalization_1",
        "gated": "bottom", "sequential": "pool", "graph": "pool", "outer": "pool", "chain": "pool"}


def layer(model, name):
    """The layer, in the model or in a model inside."""
    for each in model.layers:
        if each.name == name:
            return each
        if hasattr(each, "layers"):
            if found := layer(each, name):
                return found


def write(folder, endings):
    images = np.load(f"{folder}/images.npy").astype("float32")
    for name, make in MAKERS.items():
        K.backend.clear_session()
        model = make()
        rng = np.random.default_rng(0)
        for weight in model.weights:
            if "moving" in weight.name:
                weight.assign(rng.uniform(0.5, 2, weight.shape))
        for ending in endings:
            options = {} if "." in ending else {"save_format": "tf"}
            model.save(f"{folder}/{name}{ending}", **options)
        tap = layer(model, TAPS[name])
        source = layer(model, "inner").inputs if name == "outer" else model.inputs
        maps = K.Model(source, tap.output)(images, training=False)
        np.save(f"{folder}/{name}.npy", np.asarray(maps).mean((1, 2)))
'''
NAMES = ["gated", "sequential", "graph", "outer", "chain"] + [
    f"vae-{kind}-{where}" for kind in ("lambda", "class") for where in ("flat", "nested")
]


def made(version, folder, endings):
    """Write the networks, in a process of its own: classes are registered, and versions differ."""
    images = np.random.default_rng(0).integers(0, 256, (2, 16, 16, 1), np.uint8)
    np.save(folder / "images.npy", images)
    start = f"import {version} as K, warnings\nwarnings.simplefilter('ignore')\n"
    start += f"CANARY = {str(folder / 'canary')!r}\n"
    script = folder / "make.py"
    script.write_text(f"{start}{NETWORKS}\nwrite({str(folder)!r}, {endings!r})\n")
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    (folder / "canary").unlink(missing_ok=True)  # where making the network calls its layers
    return folder


@pytest.fixture(scope="module")
def keras3(tmp_path_factory):
    return made("keras", tmp_path_factory.mktemp("keras3"), [".keras", ".h5"])


@pytest.fixture(scope="module")
def keras2(tmp_path_factory):
    return made("tf_keras", tmp_path_factory.mktemp("keras2"), [".keras", ".h5", "-saved"])


def check(folder, name, ending, tmp_path):
    """Extract a network's encoder, and compare its embeddings with those of its own version."""
    images, expected = (np.load(folder / f"{each}.npy") for each in ("images", name))
    said = []
    made = encoder.extract(folder / f"{name}{ending}", tmp_path / "bundle", say=said.append)
    np.testing.assert_allclose(
        made.embed(images), expected, rtol=0, atol=1e-5 * abs(expected).max()
    )
    assert not (folder / "canary").exists()
    return said


@pytest.mark.parametrize("ending", [".keras", ".h5"])
@pytest.mark.parametrize("name", NAMES)
def test_the_layers_before_it_compute_the_same(keras3, tmp_path, name, ending):
    said = " ".join(check(keras3, name, ending, tmp_path))
    assert ("taken as a graph" if name in ("graph", "outer", "chain") else "loaded without") in said


@pytest.mark.long
@pytest.mark.parametrize(
    ("name", "ending"),
    [
        *((name, ".h5") for name in NAMES),
        *(
            (name, ending)
            for name in ("vae-lambda-nested", "outer")
            for ending in (".keras", "-saved")
        ),
    ],
)
def test_files_of_keras_2(keras2, tmp_path, name, ending):
    if (name, ending) == ("outer", "-saved"):
        pytest.skip("tf-keras writes no graph of layers of such a model into a SavedModel")
    check(keras2, name, ending, tmp_path)


def test_a_layer_behind_it_is_refused_by_name(keras3, tmp_path):
    for name in ("z", "decoder"):
        with pytest.raises(
            InputError, match=rf"layer '{name}' can't be tapped.*'encoder/z' \(a Lambda\).*--trust"
        ):
            encoder.extract(keras3 / "vae-lambda-nested.keras", tmp_path / "bundle", layer=name)


def test_a_dense_layer_before_it_can_be_tapped(keras3, tmp_path):
    made = encoder.extract(
        keras3 / "vae-class-nested.h5", tmp_path / "bundle", layer="mean", pooling="flatten"
    )
    assert made.spec.dim == 2


@pytest.mark.parametrize("ending", [".keras", ".h5"])
def test_auto_does_not_end_where_only_the_code_is_unknown(tmp_path, ending):
    inputs = keras.Input((16, 16, 3))
    x = keras.layers.Conv2D(4, 3, name="before")(inputs)
    x = keras.layers.Lambda(lambda x: x * 2, name="odd")(x)
    path = tmp_path / f"m{ending}"
    keras.Model(inputs, keras.layers.MaxPooling2D()(x)).save(path)
    with pytest.raises(InputError, match=r"auto would take 'before'.*'odd' \(a Lambda\)"):
        encoder.extract(path, tmp_path / "bundle")
    assert encoder.extract(path, tmp_path / "bundle", layer="before").spec.layers == ("before",)


def test_nothing_is_hidden_in_a_bundle(keras3):
    with pytest.raises(InputError, match="layer 'z' has a Lambda"):
        load_model(keras3 / "vae-lambda-flat.keras")


def test_inspect_lists_what_it_left_out(keras3, capsys):
    assert main(["inspect", str(keras3 / "vae-lambda-nested.keras"), "--json"]) == 0
    left_out = json.loads(capsys.readouterr().out)["left_out"]
    assert left_out == [
        {"name": "encoder/z", "reason": "a Lambda"},
        {"name": "decoder", "reason": ""},
    ]
    assert main(["inspect", str(keras3 / "vae-lambda-nested.keras")]) == 0
    assert "loaded without the layer 'encoder/z' (a Lambda)" in capsys.readouterr().out


def test_a_file_that_names_stand_ins_itself(tmp_path):
    """They compute nothing, so that a file may name them; but no tap can be behind them."""
    odd = {
        "class_name": "encoder>Hidden:Dense",
        "config": {"name": "odd", "reason": "", "outputs": 1},
    }
    path = hostile.keras_file(tmp_path / "m.keras", chain(odd))
    with pytest.raises(InputError):
        encoder.extract(path, tmp_path / "bundle")


def test_inspect_prints_json_alone(keras3, capsys):
    assert main(["inspect", str(keras3 / "chain.keras"), "--json"]) == 0
    json.loads(capsys.readouterr().out)
    assert main(["inspect", str(keras3 / "chain.keras")]) == 0
    assert capsys.readouterr().out.count("taken as a graph") == 1


@pytest.mark.parametrize("name", ["a\0b", "\ud800", "", "x" * 200])
def test_names_that_no_class_can_have(tmp_path, name):
    odd = {"class_name": f"encoder>Hidden:{name}", "config": {"name": "odd"}}
    with pytest.raises(InputError, match=r"layer 'odd' has the custom class"):
        load_model(hostile.keras_file(tmp_path / "m.keras", chain(odd)))


def test_numbers_are_settings_and_no_constraints():
    """A layer of the user's may have a setting of such a name that counts in its call."""
    config = {"norm_constraint": 0.5, "kernel_constraint": {"class_name": "MaxNorm"}}
    drop_training(config, of_layers=True)
    assert config == {"norm_constraint": 0.5, "kernel_constraint": None}


@pytest.mark.parametrize("outputs", [0, 10**9, "many"])
def test_a_file_that_names_a_stand_in_of_many_outputs(tmp_path, outputs):
    config = {"name": "odd", "reason": "", "outputs": outputs}
    odd = {"class_name": "encoder>Hidden:Dense", "config": config}
    with pytest.raises(InputError, match=r"m\.keras"):
        load_model(hostile.keras_file(tmp_path / "m.keras", chain(odd)), hide=True)


@pytest.mark.parametrize("key", ["inbound_nodes", "name", "class_name", "config"])
@pytest.mark.parametrize("value", [None, 3, [], ["conv", 0], [["conv", 0, 9**9, {}]], {"a": 1}])
def test_damaged_descriptions_with_code(keras3, tmp_path, key, value):
    source = keras3 / "vae-lambda-nested.keras"
    path = tmp_path / "m.keras"
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(path, "w") as new:
        config = json.loads(old.read("config.json"))
        for layer in config["config"]["layers"][1:]:
            layer[key] = value
        new.writestr("config.json", json.dumps(config))
        for name in ("metadata.json", "model.weights.h5"):
            new.writestr(name, old.read(name))
    with pytest.raises(InputError, match=r"m\.keras"):
        encoder.extract(path, tmp_path / "bundle")


LAYERS = """
import keras

@keras.saving.register_keras_serializable(package="mine")
class Registered(keras.layers.Layer):
    def call(self, inputs):
        return inputs * 2

class Plain(Registered):
    pass

def doubled(x):
    return x * 2
"""


@pytest.fixture
def own_layers(tmp_path, monkeypatch):
    (tmp_path / "own_layers.py").write_text(LAYERS)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.chdir(tmp_path)
    import own_layers

    yield own_layers
    keras.saving.get_custom_objects().pop("mine>Registered")
    del sys.modules["own_layers"]


@pytest.mark.parametrize("ending", [".keras", ".h5"])
@pytest.mark.parametrize("odd", ["Registered", "Plain", "doubled"])
def test_classes_of_the_users(own_layers, tmp_path, odd, ending, capsys):
    inputs = keras.Input((16, 16, 3))
    made = getattr(own_layers, odd)
    layer = made(name="odd") if odd != "doubled" else keras.layers.Activation(made, name="odd")
    path = tmp_path / f"m{ending}"
    x = layer(keras.layers.Conv2D(4, 3)(inputs))
    network = keras.Model(inputs, keras.layers.UpSampling2D()(x))
    network.save(path)
    words = ["extract", str(path), "--output", str(tmp_path / "bundle"), "--layer", "odd"]
    assert main(words) == 2
    assert "--custom-objects MODULE" in capsys.readouterr().err
    assert main([*words, "--custom-objects", "own_layers"]) == 0
    images = np.random.default_rng(0).integers(0, 256, (2, 16, 16, 3), np.uint8)
    expected = np.asarray(keras.Model(inputs, x)(images.astype("float32"))).mean((1, 2))
    with pytest.raises(InputError, match="--custom-objects"):
        encoder.load(tmp_path / "bundle")
    loaded = encoder.load(tmp_path / "bundle", custom_objects=["own_layers"])
    np.testing.assert_allclose(
        loaded.embed(images), expected, rtol=0, atol=1e-5 * abs(expected).max()
    )


def test_lambdas_need_trust_even_so(own_layers, tmp_path):
    inputs = keras.Input((16, 16, 3))
    x = keras.layers.Lambda(lambda x: x, name="odd")(keras.layers.Conv2D(4, 3)(inputs))
    keras.Model(inputs, x).save(tmp_path / "m.keras")
    with pytest.raises(InputError, match=r"'odd' \(a Lambda\)"):
        encoder.extract(
            tmp_path / "m.keras", tmp_path / "bundle", layer="odd", custom_objects=["own_layers"]
        )


@pytest.mark.parametrize(
    ("module", "message"), [("no_such_module", "can't be imported"), ("this", "defines no class")]
)
def test_modules_that_do_not_help(small_model_file, tmp_path, module, message, capsys):
    words = ["extract", str(small_model_file), "--output", str(tmp_path / "b")]
    assert main([*words, "--custom-objects", module]) == 2
    assert message in capsys.readouterr().err


def test_hidden_weights_stay_in_the_file(keras3, tmp_path):
    """The order of the others must not change: they are found by it."""
    with h5py.File(keras3 / "vae-class-nested.h5") as file:
        listed = file["model_weights"]["decoder"].attrs["weight_names"]
    assert len(listed) == 4
    model, _ = load_model(keras3 / "vae-class-nested.h5", hide=True)
    assert not model.get_layer("decoder").weights
    assert pathlib.Path(keras3 / "vae-class-nested.h5").exists()
