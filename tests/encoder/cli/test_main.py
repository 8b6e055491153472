import json
import shutil
import subprocess
import sys

import keras
import pytest

from encoder.__main__ import main
from encoder.spec import read_spec, seal
from tests.conftest import small_network


def run(capsys, *words):
    code = main([str(word) for word in words])
    return code, *capsys.readouterr()


def test_inspect(small_model_file, capsys):
    code, out, err = run(capsys, "inspect", small_model_file)
    assert (code, err) == (0, "")
    lines = [line.split() for line in out.splitlines()]
    assert ["4", "-3", "pool2", "MaxPooling2D", "8x8x16", "0", "<-", "auto"] in lines
    assert ["1", "-6", "conv1", "Conv2D", "32x32x8", "224", "encoder"] in lines
    assert ["5", "-2", "up", "UpSampling2D", "32x32x16", "0", "cut", "off"] in lines
    assert "auto: pool2 (8x8x16) is the deepest layer" in out


def test_inspect_json(small_model_file, capsys):
    description = json.loads(run(capsys, "inspect", small_model_file, "--json")[1])
    assert description["auto"]["layer"] == "pool2"
    assert description["layers"][4] == {
        "index": 4,
        "negative_index": -3,
        "name": "pool2",
        "type": "MaxPooling2D",
        "output_shape": [None, 8, 8, 16],
        "parameters": 0,
        "role": "tap",
    }


def test_extract(small_model_file, tmp_path, capsys):
    code, out, _ = run(
        capsys,
        *("extract", small_model_file, "--output", tmp_path / "b", "--layer", "-3"),
        *("--pooling", "max", "--preprocess", "tf", "--fit", "pad", "--background", "1,2,3"),
        *("--decode", "fast"),
    )
    assert code == 0
    assert "fit pad, decode fast, preprocess tf" in out
    spec = json.loads((tmp_path / "b" / "encoder.json").read_text())
    assert f"encoder {spec['id']} ->" in out
    chosen = ("layers", "pooling", "preprocess", "fit", "background", "decode")
    assert [spec[key] for key in chosen] == [["pool2"], "max", "tf", "pad", [1, 2, 3], "fast"]


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["--layer", "pool_2"], 2, "no layer 'pool_2'; close names: pool2"),
        (["--layer", "99"], 2, "index 99 is out of range"),
        (["--decode", "fast", "--resize", "nearest"], 2, "use decode 'exact', or another resize"),
        (["--output", "/proc/nowhere"], 2, "can't write the bundle"),
    ],
)
def test_what_does_not_fit(small_model_file, tmp_path, capsys, words, code, message):
    base = ["extract", small_model_file, "--output", tmp_path / "b"]
    found, _, err = run(capsys, *base, *words)
    assert found == code
    assert message in err
    assert err.startswith("error: ")
    assert "Traceback" not in err


@pytest.mark.parametrize(
    "words",
    [
        ["extract", "m.keras"],
        ["extract", "m.keras", "--output", "b", "--pooling", "median"],
        ["extract", "m.keras", "--output", "b", "--decode", "quick"],
        ["extract", "m.keras", "--output", "b", "--input-size", "huge"],
        ["extract", "m.keras", "--output", "b", "--background", "red"],
        ["extract", "m.keras", "--output", "b", "--no-such"],
        [],
    ],
)
def test_wrong_command_lines_exit_2(words, capsys):
    with pytest.raises(SystemExit) as stop:
        main(words)
    assert stop.value.code == 2
    assert capsys.readouterr().err


def test_weights_that_do_not_fit(small_model_file, tmp_path, capsys):
    words = ["imagenet", "--output", tmp_path / "b", "--weights", small_model_file]
    code, _, err = run(capsys, *words)
    assert code == 2
    assert "does not hold the weights of VGG16" in err
    assert not (tmp_path / "b").exists()


def test_nothing_else_is_printed(small_model_file):
    """The C++ code of TensorFlow writes to stderr before its log level can be set."""
    result = subprocess.run(
        [sys.executable, "-m", "encoder", "inspect", small_model_file],
        capture_output=True,
        text=True,
        check=True,
        env={"PATH": "/usr/bin:/bin"},
    )
    assert result.stderr == ""
    assert "auto: pool2" in result.stdout


@pytest.mark.parametrize(
    ("build", "engine", "said"),
    [
        (
            small_network,
            "ncnn",
            "ncnn knows all layers up to there, and extract tries it; or Keras",
        ),
        (
            lambda: network_of(keras.layers.RMSNormalization(name="rms")),
            "keras",
            "Keras; ncnn can't compute it: layer 'rms' (RMSNormalization) is of a kind that ncnn",
        ),
        (lambda: network_of(size=None), None, "not known before there is an --input-size"),
        (
            lambda: keras.Sequential([keras.Input((8, 8, 3)), keras.layers.Flatten()]),
            None,
            "not known before there is a --layer",
        ),
    ],
)
def test_inspect_says_which_engine_could_compute(tmp_path, capsys, build, engine, said):
    build().save(tmp_path / "model.keras")
    assert main(["inspect", str(tmp_path / "model.keras")]) == 0
    assert f"engine: {said}" in capsys.readouterr().out
    assert main(["inspect", str(tmp_path / "model.keras"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["engine"]["engine"] == engine


def network_of(*layers, size=32):
    image = keras.Input((size, size, 3))
    x = keras.layers.MaxPooling2D()(keras.layers.Conv2D(4, 3, padding="same")(image))
    for layer in layers:
        x = layer(x)
    x = keras.layers.MaxPooling2D()(keras.layers.Conv2D(4, 3, padding="same")(x))
    return keras.Model(image, keras.layers.UpSampling2D(4)(x))


def test_compile_gives_a_bundle_of_before_its_form(small_bundle, tmp_path, capsys):
    folder = tmp_path / "old"
    folder.mkdir()
    shutil.copy(small_bundle / "encoder.keras", folder)
    spec = read_spec(small_bundle)
    (folder / "encoder.json").write_text(seal(spec, str(folder / "encoder.keras")))
    assert main(["compile", str(folder)]) == 0
    assert "engine: ncnn " in capsys.readouterr().out
    assert read_spec(folder) == spec
    assert sorted(path.name for path in folder.glob("*ncnn*")) == [
        "encoder.ncnn.bin",
        "encoder.ncnn.param",
    ]
    assert main(["compile", str(tmp_path)]) == 2
    assert "is not an encoder bundle" in capsys.readouterr().err
