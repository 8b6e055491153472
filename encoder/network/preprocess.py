"""What happens to pixels before the first layer, inside the model call.

The modes are those of ``keras.applications.imagenet_utils.preprocess_input``; "unit" divides by
255 and "none" passes 0..255 on as they are.
"""

from __future__ import annotations

from typing import Any

# Means and deviations of the ImageNet training set, in the order named, on the 0..255 scale for
# "caffe" (Simonyan and Zisserman 2014, as trained in Caffe) and 0..1 for "torch" (torchvision).
CAFFE_MEAN_BGR = (103.939, 116.779, 123.68)
TORCH_MEAN_RGB = (0.485, 0.456, 0.406)
TORCH_STD_RGB = (0.229, 0.224, 0.225)


def preprocess(images: Any, mode: str) -> Any:
    """Turn a uint8 (n, height, width, channels) tensor into float32 of the same shape.

    Args:
        images: pixels 0..255; three channels are in RGB order.
        mode: "caffe" (to BGR, minus mean), "tf" (to -1..1), "torch" (to 0..1, minus mean, over
            deviation), "unit" (to 0..1) or "none".
    """
    from keras import ops

    # TensorFlow turns "/ constant" into "* (1 / constant)" when it compiles, which is another
    # number in the last bit; this division it leaves alone.
    divide = ops.divide_no_nan
    pixels = ops.cast(images, "float32")
    if mode == "caffe":
        return pixels[..., ::-1] - ops.convert_to_tensor(CAFFE_MEAN_BGR, "float32")
    if mode == "tf":
        return divide(pixels, 127.5) - 1.0
    if mode == "torch":
        mean, deviation = (
            ops.convert_to_tensor(c, "float32") for c in (TORCH_MEAN_RGB, TORCH_STD_RGB)
        )
        return divide(divide(pixels, 255.0) - mean, deviation)
    if mode == "unit":
        return divide(pixels, 255.0)
    return pixels
