"""Small networks of the forms that people build. Runs under every version, so Python 3.8.

Layers of several networks have the same names on purpose: nested models often have.
"""


def names(keras):
    missing = set()
    if not hasattr(keras, "quantizers"):
        missing = {"int8"}
    if preprocessing(keras, "Rescaling") is None:
        missing |= {"augmentation and MobileNetV2", "augmentation and Rescaling"}
    return [name for name in NETWORKS if name not in missing]


def build(keras, names):
    (name,) = names
    return NETWORKS[name](keras, keras.layers)


def preprocessing(keras, name):
    for space in (
        keras.layers,
        getattr(getattr(keras.layers, "experimental", None), "preprocessing", None),
    ):
        if hasattr(space, name):
            return getattr(space, name)
    return None


def image(keras):
    return keras.Input((32, 32, 3), name="image")


def blocks(of, x, prefix=""):
    for number, filters in enumerate((4, 8), start=1):
        x = of.Conv2D(filters, 3, padding="same", name="{}conv{}".format(prefix, number))(x)
        x = of.BatchNormalization(name="{}norm{}".format(prefix, number))(x)
        x = of.MaxPooling2D(name="{}pool{}".format(prefix, number))(of.ReLU()(x))
    return x


def backbone(keras, name="backbone"):
    x = image(keras)
    return keras.Model(x, blocks(keras.layers, x), name=name)


def sequential(keras, of):
    model = keras.Sequential([image(keras), *plain_layers(of)])
    return {"model": model}


def plain_layers(of):
    return [
        of.Conv2D(4, 3, name="conv1"),
        of.MaxPooling2D(name="pool1"),
        of.Conv2D(8, 3, activation="relu", name="conv2"),
        of.Flatten(name="flat"),
        of.Dense(3, name="head"),
    ]


def sequential_built(keras, of):
    layers = plain_layers(of)
    layers[0] = of.Conv2D(4, 3, name="conv1", input_shape=(32, 32, 3))
    return {"model": keras.Sequential(layers)}


def functional_in_sequential(keras, of):
    inner = backbone(keras)
    model = keras.Sequential([image(keras), inner, of.GlobalAveragePooling2D(), of.Dense(2)])
    return {"model": model}


def functional_first_in_sequential(keras, of):
    inner = backbone(keras)
    model = keras.Sequential([inner, of.GlobalAveragePooling2D(), of.Dense(2)])
    return {"model": model}


def functional_in_functional(keras, of):
    x, inner = image(keras), backbone(keras)
    y = of.Conv2D(3, 1, name="first")(x)
    model = keras.Model(x, of.Dense(2)(of.GlobalAveragePooling2D()(inner(y))))
    return {"model": model}


def sequential_in_functional(keras, of):
    x = image(keras)
    y = of.Conv2D(3, 1, name="first")(x)
    inner = keras.Sequential(
        [keras.Input((32, 32, 3)), of.Conv2D(8, 3, name="conv1"), of.MaxPooling2D(name="pool1")],
        name="tower",
    )
    model = keras.Model(x, of.Dense(2)(of.Flatten()(inner(y))))
    return {"model": model}


def nested_twice(keras, of):
    inner = backbone(keras)
    middle = keras.Sequential([image(keras), inner, of.Dropout(0.5, name="drop")], name="middle")
    x = image(keras)
    model = keras.Model(x, of.Dense(2)(of.Flatten()(middle(x))))
    return {"model": model}


def two_outputs_nested(keras, of):
    x = image(keras)
    a = of.Conv2D(4, 3, strides=2, padding="same", name="a")(x)
    b = of.Conv2D(8, 3, strides=2, padding="same", name="b")(a)
    inner = keras.Model(x, [a, b], name="pyramid")
    y = image(keras)
    low, high = inner(y)
    joined = of.Concatenate(name="join")([of.MaxPooling2D(name="down")(low), high])
    model = keras.Model(y, of.Dense(2)(of.GlobalAveragePooling2D()(joined)))
    return {"model": model}


def listed_output_nested(keras, of):
    x = image(keras)
    inner = keras.Model([x], [blocks(of, x)], name="backbone")
    y = image(keras)
    out = inner(y)
    out = out[0] if isinstance(out, (list, tuple)) else out
    model = keras.Model([y], [of.Dense(2)(of.GlobalAveragePooling2D()(out))])
    return {"model": model}


def unet(keras, of):
    x = image(keras)
    one = of.Conv2D(4, 3, padding="same", activation="relu", name="one")(x)
    two = of.Conv2D(8, 3, padding="same", activation="relu", name="two")(of.MaxPooling2D()(one))
    deep = of.Conv2D(16, 3, padding="same", activation="relu", name="deep")(of.MaxPooling2D()(two))
    up = of.Concatenate()([of.UpSampling2D()(of.SpatialDropout2D(0.3)(deep)), two])
    up = of.Concatenate()([of.Conv2DTranspose(4, 2, 2)(up), one])
    return {"model": keras.Model(x, of.Conv2D(1, 1, activation="sigmoid")(up))}


def shared(keras, of):
    x, conv = image(keras), of.Conv2D(3, 3, padding="same", name="shared")
    y = conv(of.ReLU(name="between")(conv(x)))
    y = of.Conv2D(5, 3, strides=2, name="last")(y)
    return {"model": keras.Model(x, of.Dense(2)(of.GlobalAveragePooling2D()(y)))}


def two_outputs(keras, of):
    x = image(keras)
    y = blocks(of, x)
    heads = [of.Dense(2, name="h{}".format(i))(of.GlobalAveragePooling2D()(y)) for i in range(2)]
    return {"model": keras.Model(x, heads)}


def compiled(keras, of):
    x = image(keras)
    model = keras.Model(x, of.Dense(2, activation="softmax")(of.Flatten()(blocks(of, x))))
    model.compile("adam", "categorical_crossentropy", metrics=["accuracy"])
    import numpy as np

    model.fit(np.zeros((2, 32, 32, 3)), np.eye(2), verbose=0)
    return {"model": model}


def scaled(keras, of):
    x = image(keras)
    y = blocks(of, x / 127.5 - 1.0)
    return {"model": keras.Model(x, of.Dense(2)(of.Flatten()(y)))}


def arithmetic(keras, of):
    x = image(keras)
    y = of.Conv2D(4, 3, padding="same", name="conv")(x[..., ::-1])
    y = of.MaxPooling2D(name="pool")(y + 0.5 * y - y * y)
    return {"model": keras.Model(x, of.Dense(2)(of.Flatten()(y)))}


def preprocess(module):
    def made(keras, of):
        x = image(keras)
        y = blocks(of, getattr(keras.applications, module).preprocess_input(x))
        return {"model": keras.Model(x, of.Dense(2)(of.Flatten()(y)))}

    return made


def augmented(keras, of):
    x = image(keras)
    kinds = {
        each: preprocessing(keras, each) for each in ("RandomFlip", "RandomRotation", "Rescaling")
    }
    y = kinds["RandomRotation"](0.1)(kinds["RandomFlip"]("horizontal")(x))
    y = blocks(of, kinds["Rescaling"](1 / 255)(y))
    return {"model": keras.Model(x, of.Dense(2)(of.Flatten()(y)))}


def tutorial(keras, of):
    flip, turn = preprocessing(keras, "RandomFlip"), preprocessing(keras, "RandomRotation")
    augmentation = keras.Sequential([flip("horizontal"), turn(0.2)], name="augmentation")
    base = keras.applications.MobileNetV2(input_shape=(96, 96, 3), include_top=False, weights=None)
    base.trainable = False
    x = keras.Input((96, 96, 3), name="image")
    y = keras.applications.mobilenet_v2.preprocess_input(augmentation(x))
    z = of.Dropout(0.2)(of.GlobalAveragePooling2D()(base(y, training=False)))
    return {"model": keras.Model(x, of.Dense(1)(z))}


def transfer(name):
    def made(keras, of):
        base = getattr(keras.applications, name)(
            input_shape=(64, 64, 3), include_top=False, weights=None
        )
        model = keras.Sequential([base, of.GlobalAveragePooling2D(), of.Dense(3)])
        return {"model": model}

    return made


def transfer_pooled(keras, of):
    base = keras.applications.EfficientNetB0(
        input_shape=(64, 64, 3), include_top=False, weights=None, pooling="avg"
    )
    model = keras.Sequential([base, of.Dense(16, activation="relu"), of.Dense(3)])
    return {"model": model}


def with_top(keras, of):
    return {
        "model": keras.applications.MobileNet(weights=None, input_shape=(64, 64, 3), alpha=0.25)
    }


def policy(name):
    def made(keras, of):
        setter = getattr(keras.mixed_precision, "set_global_policy", None)
        setter = setter or keras.mixed_precision.set_dtype_policy
        setter(name)
        try:
            x = image(keras)
            y = blocks(of, x)
            y = of.Dense(2, dtype="float32", name="head")(of.GlobalAveragePooling2D()(y))
        finally:
            setter("float32")
        return {"model": keras.Model(x, y)}

    return made


def policy_nested(keras, of):
    setter = getattr(keras.mixed_precision, "set_global_policy", None)
    setter = setter or keras.mixed_precision.set_dtype_policy
    setter("mixed_float16")
    try:
        inner = backbone(keras)
        model = keras.Sequential([inner, of.GlobalAveragePooling2D(), of.Dense(2, dtype="float32")])
    finally:
        setter("float32")
    return {"model": model}


def quantized(keras, of):
    x = image(keras)
    y = of.Dense(6, name="per_pixel")(blocks(of, x))
    model = keras.Model(x, of.Dense(2)(of.GlobalAveragePooling2D()(y)))
    model.quantize("int8")
    return {"model": model}


def lambda_behind(keras, of):
    x = image(keras)
    y = of.GlobalAveragePooling2D()(blocks(of, x))
    return {"model": keras.Model(x, of.Lambda(lambda z: z * 2, name="code")(y))}


NETWORKS = {
    "Sequential": sequential,
    "Sequential without Input": sequential_built,
    "functional in Sequential": functional_in_sequential,
    "functional first in Sequential": functional_first_in_sequential,
    "functional in functional": functional_in_functional,
    "Sequential in functional": sequential_in_functional,
    "nested twice": nested_twice,
    "two outputs of a nested model": two_outputs_nested,
    "listed output of a nested model": listed_output_nested,
    "U-Net": unet,
    "shared layer": shared,
    "two outputs": two_outputs,
    "compiled and trained": compiled,
    "scaled by operators": scaled,
    "arithmetic and slices": arithmetic,
    "preprocess_input of VGG16": preprocess("vgg16"),
    "preprocess_input of MobileNet": preprocess("mobilenet"),
    "preprocess_input of DenseNet": preprocess("densenet"),
    "augmentation and Rescaling": augmented,
    "augmentation and MobileNetV2": tutorial,
    "MobileNetV2 in Sequential": transfer("MobileNetV2"),
    "VGG16 in Sequential": transfer("VGG16"),
    "EfficientNetB0, pooled, in Sequential": transfer_pooled,
    "MobileNet with its classifier": with_top,
    "global mixed_float16": policy("mixed_float16"),
    "global mixed_bfloat16": policy("mixed_bfloat16"),
    "global mixed_float16, nested": policy_nested,
    "int8": quantized,
    "Lambda behind the encoder": lambda_behind,
}
