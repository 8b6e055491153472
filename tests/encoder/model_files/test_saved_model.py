"""SavedModel folders and .keras files of Keras 2 (the real tf-keras) that try to run code."""

import json
import pathlib
import shutil
import subprocess
import sys

import numpy as np
import pytest

from encoder.errors import InputError
from encoder.model_files.load import load_model
from tests.encoder.model_files import hostile

pytestmark = pytest.mark.slow

# In its own process: two versions of Keras in one process share logging and names.
MAKE = """
import sys, warnings
warnings.simplefilter("ignore")
import tensorflow as tf, tf_keras as keras
folder, canary = sys.argv[1:]
L = keras.layers

@keras.utils.register_keras_serializable(package="evil")
class Odd(L.Layer):
    def call(self, x):
        tf.io.write_file(canary, "graph")
        return x

def network(*odd):
    x = inputs = keras.Input((8, 8, 3))
    for layer in odd:
        x = layer(x)
    x = L.BatchNormalization()(L.Conv2D(4, 3, name="conv")(x))
    return keras.Model(inputs, L.UpSampling2D()(L.MaxPooling2D(name="pool")(x)))

code = eval(f"lambda x: (open({canary!r}, 'w').close(), x)[1]")
network().save(f"{folder}/plain", save_format="tf")
network().save(f"{folder}/plain.keras")
network(L.Lambda(code, name="odd")).save(f"{folder}/lambda", save_format="tf")
network(L.Lambda(code, name="odd")).save(f"{folder}/lambda.keras")
network(Odd(name="odd")).save(f"{folder}/custom", save_format="tf")
network(L.TimeDistributed(L.Lambda(code), name="odd")).save(f"{folder}/wrapped", save_format="tf")
model = network()
model.compile("adam", loss=lambda a, b: tf.reduce_mean(a - b))
model.save(f"{folder}/compiled", save_format="tf")
"""


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("saved")
    canary = folder / "canary"
    script = folder / "make.py"
    script.write_text(MAKE)
    result = subprocess.run(
        [sys.executable, script, folder, canary], capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr[-2000:]
    canary.unlink(missing_ok=True)
    return folder


def described(source, target, change):
    """Copy a SavedModel folder, and change the texts in its description."""
    from tf_keras.protobuf import saved_metadata_pb2

    path = pathlib.Path(shutil.copytree(source, target)) / "keras_metadata.pb"
    found = saved_metadata_pb2.SavedMetadata()
    found.ParseFromString(path.read_bytes())
    for node in found.nodes:
        node.metadata = change(node.metadata)
    path.write_bytes(found.SerializeToString())
    return target


def escaped(text):
    return text.replace('"Lambda"', '"\\u004cambda"')


def spaced(text):
    return text.replace('"class_name": "Lambda"', '"class_name"  :\n"Lambda"')


def twice(text):
    return text.replace('"class_name": "Lambda"', '"class_name": "Dense", "class_name": "Lambda"')


@pytest.mark.parametrize("spelling", [str, escaped, spaced, twice])
@pytest.mark.parametrize("kind", ["lambda", "wrapped"])
def test_a_lambda_however_it_is_spelled(made, tmp_path, kind, spelling):
    path = described(made / kind, tmp_path / "m", spelling)
    with pytest.raises(InputError, match=r"/m' needs code.*has a Lambda"):
        load_model(path)
    assert not (made / "canary").exists()


def test_the_description_where_keras_2_4_put_it(made, tmp_path):
    from tensorflow.core.protobuf import saved_model_pb2
    from tf_keras.protobuf import saved_metadata_pb2

    path = pathlib.Path(shutil.copytree(made / "plain", tmp_path / "m"))
    described, graph = saved_metadata_pb2.SavedMetadata(), saved_model_pb2.SavedModel()
    described.ParseFromString((path / "keras_metadata.pb").read_bytes())
    graph.ParseFromString((path / "saved_model.pb").read_bytes())
    (text,) = (node.metadata for node in described.nodes if node.node_id == 0)
    (path / "keras_metadata.pb").unlink()
    with pytest.raises(InputError, match="without Keras' description"):
        load_model(path)
    graph.meta_graphs[0].object_graph_def.nodes[0].user_object.metadata = text
    (path / "saved_model.pb").write_bytes(graph.SerializeToString())
    for found, expected in zip(
        load_model(path)[0].get_weights(), load_model(made / "plain")[0].get_weights(), strict=True
    ):
        np.testing.assert_array_equal(found, expected)


@pytest.mark.own_process
def test_it_loads_as_extract_loads_it(made):
    assert load_model(made / "plain")[0].get_layer("conv")


def test_the_payload_runs_where_the_folder_is_trusted(made):
    """Without this, no other test here could fail."""
    load_model(made / "lambda", trust=True)
    assert (made / "canary").exists()
    (made / "canary").unlink()


def test_a_lambda_in_a_file_of_keras_2(made):
    with pytest.raises(InputError, match="has a Lambda"):
        load_model(made / "lambda.keras")
    assert not (made / "canary").exists()


def test_a_custom_class_whose_code_is_in_the_graph(made):
    with pytest.raises(InputError, match=r"layer 'odd' has the custom class 'evil>Odd'.*--trust"):
        load_model(made / "custom")
    assert not (made / "canary").exists()


def test_the_graph_is_not_loaded(made, tmp_path):
    """Its functions could do anything; only the description and the variables are read."""
    path = pathlib.Path(shutil.copytree(made / "plain", tmp_path / "m"))
    (path / "saved_model.pb").write_bytes(b"no graph")
    model, whole = load_model(path)[0], load_model(made / "plain")[0]
    assert [layer.name for layer in model.layers] == [layer.name for layer in whole.layers]
    for found, expected in zip(model.get_weights(), whole.get_weights(), strict=True):
        np.testing.assert_array_equal(found, expected)


def test_what_it_was_compiled_with_does_not_matter(made):
    assert load_model(made / "compiled")[0].get_layer("conv")


def test_variables_of_another_network(made, tmp_path):
    def wider(text):
        return text.replace('"filters": 4', '"filters": 5')

    with pytest.raises(InputError, match=r"can't take .*/m'"):
        load_model(described(made / "plain", tmp_path / "m", wider))


@pytest.mark.parametrize("function", ["io.write_file", "load_library", "py_function", "raw_ops.X"])
def test_operations_that_are_no_arithmetic(made, tmp_path, function):
    odd = hostile.layer("TFOpLambda", function=function)

    def with_operation(text):
        config = json.loads(text)
        if config["class_name"] == "Functional":
            config["config"]["layers"].append(odd)
        return json.dumps(config)

    path = described(made / "plain", tmp_path / "m", with_operation)
    with pytest.raises(InputError, match=rf"tf\.{function}, which is not among"):
        load_model(path)


@pytest.mark.parametrize("text", ["", "[]", "[" * 200_000, '{"class_name": "Functional"}', "\xff"])
def test_descriptions_that_are_none(made, tmp_path, text):
    path = described(made / "plain", tmp_path / "m", lambda _: text)
    with pytest.raises(InputError, match=r"/m'"):
        load_model(path)


def test_a_description_that_is_no_protobuf(made, tmp_path):
    path = pathlib.Path(shutil.copytree(made / "plain", tmp_path / "m"))
    (path / "keras_metadata.pb").write_bytes(b"\xff" * 100)
    with pytest.raises(InputError, match=r"keras_metadata\.pb' is damaged"):
        load_model(path)
