import xml.etree.ElementTree as ElementTree

import keras
import pytest
from PIL import Image

import encoder
from encoder.__main__ import main
from encoder.cli.inspection import describe
from encoder.cli.plot import layout, plot

SVG = "{http://www.w3.org/2000/svg}"


@pytest.fixture(scope="module")
def description():
    return describe(encoder.vgg16_encoder_decoder())


def test_heights_are_to_scale_and_the_tap_is_marked(description):
    bars = {bar.name: bar for bar in layout(description["layers"])}
    assert bars["pool_1"].height == pytest.approx(bars["conv1_1"].height / 2)
    assert bars["pool_5"].height == pytest.approx(bars["conv1_1"].height * 6 / 200)
    assert bars["up_1"].height == bars["conv1_1"].height
    assert [bar.name for bar in bars.values() if bar.role == "tap"] == ["pool_5"]
    lefts = [bar.left for bar in bars.values()]
    assert lefts == sorted(lefts)


def test_svg(description, tmp_path):
    plot(description, tmp_path / "net.svg")
    root = ElementTree.parse(tmp_path / "net.svg").getroot()
    titles = [title.text for title in root.iter(f"{SVG}title")]
    assert titles == [row["name"] for row in description["layers"]]
    texts = [text.text for text in root.iter(f"{SVG}text")]
    assert "pool_5 6x6x512" in texts
    assert any("deepest layer" in text for text in texts)


def test_png(description, tmp_path):
    plot(description, tmp_path / "net.png")
    image = Image.open(tmp_path / "net.png").convert("RGB")
    colors = {color for _, color in image.getcolors(1 << 20)}
    assert {(0x2E, 0x9D, 0x57), (0x4A, 0x7F, 0xB5), (0xCF, 0xCF, 0xCF)} <= colors


def test_flat_and_open_shapes(tmp_path):
    x = inputs = keras.Input((None, None, 3))
    x = keras.layers.Conv2D(4, 3, strides=2)(x)
    outputs = keras.layers.Dense(2)(keras.layers.GlobalAveragePooling2D()(x))
    plot(describe(keras.Model(inputs, outputs)), tmp_path / "net.svg")
    assert "?x?x4" in (tmp_path / "net.svg").read_text()


def test_from_the_shell(small_model_file, tmp_path, capsys):
    words = ["inspect", str(small_model_file), "--plot"]
    assert main([*words, str(tmp_path / "net.png")]) == 0
    assert (tmp_path / "net.png").stat().st_size > 1000
    assert main([*words, str(tmp_path / "net.pdf")]) == 2
    assert "ends in .svg or .png" in capsys.readouterr().err
    assert main([*words, "/proc/net.svg"]) == 2
