"""A compiled form of strangers may name other layers than ours, or more weights than there are."""

import keras
import pytest
from keras import layers as of

from encoder.compute.engines.ncnn.check import check_form
from encoder.compute.engines.ncnn.convert import convert
from encoder.errors import InputError

HEAD = b"7767517\n2 2\nInput 0 0 1 image 0=4 1=4 2=3\n"


@pytest.fixture(scope="module")
def form():
    image = keras.Input((9, 9, 3))
    x = of.Conv2D(8, 3, activation="relu")(image)
    x = of.PReLU(shared_axes=[1, 2])(of.DepthwiseConv2D(3, use_bias=False)(x))
    x = of.GroupNormalization(2)(of.LayerNormalization()(of.BatchNormalization()(x)))
    x = of.Conv2DTranspose(4, 2)(x)
    return convert(keras.Model(image, of.Dense(3)(of.GlobalAveragePooling2D()(x))))


def test_ours_are_right(form):
    check_form(form.param, form.weights)


@pytest.mark.parametrize("change", [lambda w: w[:-4], lambda w: w + bytes(4), lambda w: b""])
def test_other_numbers_of_weights(form, change):
    with pytest.raises(InputError, match="bytes of weights; its layers need"):
        check_form(form.param, change(form.weights))


@pytest.mark.parametrize(
    ("param", "said"),
    [
        (b"", "none of this project's"),
        (b"\xff\xfe", "none of this project's"),
        (b"1\n2 2\nx", "it begins with '1'"),
        (HEAD, "for 1 lines"),
        (HEAD + b"MemoryData 1 0 1 b 0=4", "it has a layer 'MemoryData'"),
        (HEAD + b"Convolution 1 1 1 image b 0=-4 5=1 6=4", "has the parameter 0=-4"),
        (HEAD + b"Convolution 1 1 1 image b 0=4 5=1 6=1e9", "none of this project's"),
        (HEAD + b"Convolution 1 1 1 image b 0=4 5=1 6", "none of this project's"),
        (HEAD + b"ReLU", "none of this project's"),
        (HEAD + b"ReLU 1 a b", "none of this project's"),
    ],
)
def test_forms_of_others(param, said):
    with pytest.raises(InputError, match=said):
        check_form(param, b"")
