"""Kinds of attack that were published against Keras, and others, against our own check alone.

Keras' own safe mode is off in this file.
"""

import json

import keras
import pytest

from encoder.errors import InputError
from encoder.model_files.load import load_model
from tests.encoder.model_files import hostile
from tests.encoder.model_files.hostile import chain, dense, layer

pytestmark = pytest.mark.filterwarnings("ignore:You are saving your model as an HDF5 file")


@pytest.fixture(autouse=True)
def _keras_allows_everything():
    from keras.src.backend.common import global_state

    keras.config.enable_unsafe_deserialization()
    yield
    global_state.set_global_attribute("safe_mode_saving", None)


@pytest.fixture
def canary(tmp_path):
    return tmp_path / "canary"


def test_the_payload_runs_where_the_file_is_trusted(tmp_path, canary):
    """Without this, no other test here could fail."""
    config = chain(hostile.lambda_layer(canary))
    load_model(hostile.keras_file(tmp_path / "m.keras", config), trust=True)
    assert canary.exists()


def lambda_code(canary):
    return hostile.lambda_layer(canary)["config"]["function"]


def function(name, module):
    return {"class_name": "function", "config": name, "module": module, "registered_name": name}


# By the check before anything is made, or by our own class of operations.
REFUSED = "needs code that is not part of Keras|not among the operations"
# name: the config of a layer, made with the path that a payload would write to
LAYERS = {
    "CVE-2024-3660 Lambda": hostile.lambda_layer,
    "CVE-2025-1550 any function": lambda c: layer("system", "os", command=f"touch {c}"),
    "CVE-2025-1550 any function as activation": lambda c: dense(
        activation=function("system", "posix")
    ),
    "CVE-2025-1550 code of __lambda__": lambda c: dense(activation=lambda_code(c)),
    "CVE-2025-8747 get_file": lambda c: layer(
        "get_file", "keras.utils", fname=str(c), origin=f"file://{__file__}"
    ),
    "CVE-2025-8747 get_file of an inner module": lambda c: layer(
        "get_file", "keras.src.utils.file_utils", fname=str(c), origin=f"file://{__file__}"
    ),
    "CVE-2025-9906 switch of the safe mode": lambda c: layer(
        "enable_unsafe_deserialization", "keras.config"
    ),
    "CVE-2025-9906 switch as a function": lambda c: dense(
        kernel_initializer=function("enable_unsafe_deserialization", "keras.config")
    ),
    "CVE-2025-12058 vocabulary of a file": lambda c: layer(
        "StringLookup", vocabulary="/etc/passwd"
    ),
    "CVE-2025-12058 vocabulary of an address": lambda c: layer(
        "IntegerLookup", vocabulary="https://localhost/words"
    ),
    "CVE-2025-12058 vocabulary of a text": lambda c: layer(
        "TextVectorization", vocabulary="/etc/passwd"
    ),
    "CVE-2025-49655 pickled module": lambda c: layer("TorchModuleWrapper", module="gASVAA=="),
    "CVE-2026-1462 SavedModel": lambda c: layer(
        "TFSMLayer", filepath=str(c.parent), call_endpoint="serving_default"
    ),
    "layers of JAX": lambda c: layer("JaxLayer", call_fn=lambda_code(c)),
    "layers of Flax": lambda c: layer("FlaxLayer", method="x"),
    "file loader": lambda c: layer("load_model", "keras.saving", filepath=str(c)),
    "import": lambda c: layer("anything", "keras.src.utils.this_is_not_there"),
    "import of another package": lambda c: layer("Anything", "antigravity"),
    "module that begins like a known one": lambda c: layer("Dense", "keras.layers.evil", units=3),
    "class of another known module": lambda c: layer("Dense", "keras.utils", units=3),
    "name that contains ours": lambda c: layer("X", "posix", "my_encoder>X"),
    "our name for another class": lambda c: layer("X", "posix", "encoder>X"),
    "our class in another module": lambda c: layer(
        "GlobalMeanPooling", "posix", "encoder>GlobalMeanPooling"
    ),
    "our registered name on another class": lambda c: layer(
        "system", "os", "encoder>GlobalMeanPooling"
    ),
    "our operation with any function": lambda c: layer(
        "TensorFlowOperation",
        "encoder.model_files.configs.keras2",
        "encoder>TensorFlowOperation",
        function="__operators__.load_library",
        arguments=json.dumps([str(c), {}]),
    ),
    "operation of Keras 2 with any function": lambda c: layer(
        "TFOpLambda", "tf_keras.src.layers.core.tf_op_layer", "TFOpLambda", function="io.write_file"
    ),
    "registered name of a known class": lambda c: layer("Dense", registered="tests>X", units=3),
    "class name that is no text": lambda c: layer(["Lambda"]),
    "class name that decodes to a text": lambda c: layer(
        {"class_name": "__tuple__", "items": ["Lambda"]}
    ),
    "module that is no text": lambda c: layer("Dense", ["keras.layers"], units=3),
    "type specification": lambda c: {
        "class_name": "__typespec__",
        "config": [],
        "spec_name": "system",
        "module": "os",
        "registered_name": "system",
    },
    "type specification of .h5": lambda c: dense(
        dtype={"class_name": "TypeSpec", "type_spec": "x", "serialized": []}
    ),
    "array of objects": lambda c: dense(
        bias_initializer={"class_name": "__numpy__", "config": {"value": [1], "dtype": "O"}}
    ),
    "array of gigabytes": lambda c: dense(
        bias_initializer={
            "class_name": "__numpy__",
            "config": {"value": [1], "dtype": "V1999999999"},
        }
    ),
    "inside a wrapper": lambda c: layer("TimeDistributed", layer=hostile.lambda_layer(c)),
    "inside a wrapper of cells": lambda c: layer("RNN", cell=[hostile.lambda_layer(c)]),
    "inside a model": lambda c: chain(chain(hostile.lambda_layer(c))),
    "inside an argument": lambda c: {
        **dense(),
        "inbound_nodes": [{"args": [lambda_code(c)], "kwargs": {}}],
    },
    "inside build_config": lambda c: {**dense(), "build_config": {"x": lambda_code(c)}},
    "regulariser": lambda c: dense(kernel_regularizer=lambda_code(c)),
    "constraint": lambda c: dense(bias_constraint=function("system", "os")),
    "dtype policy": lambda c: dense(dtype=layer("system", "os")),
    "operation that calls a function": lambda c: layer(
        "Map", "keras.src.ops.core", f=lambda_code(c)
    ),
}


@pytest.mark.parametrize("kind", LAYERS)
@pytest.mark.parametrize("ending", [".keras", ".h5"])
def test_it_is_refused_and_runs_nothing(kind, ending, tmp_path, canary):
    config = chain(LAYERS[kind](canary))
    write = hostile.keras_file if ending == ".keras" else hostile.hdf5_file
    path = write(tmp_path / f"m{ending}", config)
    with pytest.raises(InputError, match=REFUSED):
        load_model(path)
    assert not canary.exists()


@pytest.mark.parametrize("kind", LAYERS)
def test_it_is_refused_without_modules(kind, tmp_path, canary):
    odd = hostile.legacy(LAYERS[kind](canary))
    if odd.get("class_name") in ("Dense", "TimeDistributed") and odd == hostile.legacy(dense()):
        pytest.skip("the module was the attack")
    path = hostile.hdf5_file(tmp_path / "m.h5", hostile.legacy(chain(odd)))
    with pytest.raises(InputError, match=REFUSED):
        load_model(path)
    assert not canary.exists()


@pytest.mark.parametrize("ending", [".keras", ".h5"])
def test_what_an_inner_model_was_compiled_with_is_never_made(ending, tmp_path, canary):
    inner = {**chain(dense()), "compile_config": {"loss": lambda_code(canary)}}
    write = hostile.keras_file if ending == ".keras" else hostile.hdf5_file
    with pytest.raises(InputError, match="can't load"):  # for the weights alone
        load_model(write(tmp_path / f"m{ending}", chain(inner)))
    assert not canary.exists()


@keras.saving.register_keras_serializable(package="hostile")
def registered_function(values):
    return values


def test_functions_that_this_process_has_registered(tmp_path):
    config = chain(dense(activation="hostile>registered_function"))
    with pytest.raises(InputError, match="custom object 'hostile>registered_function'"):
        load_model(hostile.keras_file(tmp_path / "m.keras", config))


TEXTS = {
    "brackets": "[" * 200_000,
    "closed brackets": "[" * 200_000 + "]" * 200_000,
    "objects": '{"a":' * 200_000,
    "an integer of many digits": '{"class_name": ' + "9" * 10_000 + "}",
    "infinity": "Infinity",
    "a list": "[]",
    "nothing": "",
    "no UTF-8": "\ud800",
    "a long text": " " * (17 << 20),
}


@pytest.mark.parametrize("kind", TEXTS)
@pytest.mark.parametrize("ending", [".keras", ".h5"])
def test_texts_that_describe_no_model(kind, ending, tmp_path):
    text = TEXTS[kind].encode("utf-8", "surrogatepass")
    if ending == ".keras":
        path = hostile.keras_file(tmp_path / "m.keras", "{}")
        path = _with_text(path, text)
    else:
        path = hostile.hdf5_file(tmp_path / "m.h5", "{}")
        _set_text(path, text)
    with pytest.raises(InputError, match=r"m\.(keras|h5)") as caught:
        load_model(path)
    assert len(str(caught.value)) < 1000


def _with_text(path, text):
    import zipfile

    target = path.with_name("m.keras.new")
    with zipfile.ZipFile(path) as source, zipfile.ZipFile(target, "w") as copy:
        for name in source.namelist():
            copy.writestr(name, text if name == "config.json" else source.read(name))
    return target.rename(path)


def _set_text(path, text):
    import h5py
    import numpy as np

    with h5py.File(path, "r+") as archive:
        archive.attrs["model_config"] = np.bytes_(text) if len(text) < 60_000 else text


def test_a_model_nested_deeper_than_the_parser_allows(tmp_path):
    config = dense()
    for _ in range(150):
        config = layer("TimeDistributed", layer=config)
    with pytest.raises(InputError, match="levels deep"):
        load_model(hostile.keras_file(tmp_path / "m.keras", chain(config)))


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 10**4000])
def test_odd_numbers_are_refused_by_keras(value, tmp_path):
    config = chain(layer("Dense", units=value))
    with pytest.raises(InputError, match="can't load"):
        load_model(hostile.keras_file(tmp_path / "m.keras", config))
