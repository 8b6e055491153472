"""Makes model files with one version of Keras, and what that version computes from them.

``python maker.py MODULE FOLDER LARGEST`` runs in that version's environment, so it needs Python
3.8 only and imports nothing of the project. It writes a line of JSON: the version and the names of
all that it can make. Each line of standard input is JSON, too: a kind and names, which it makes one
network of. It answers with a line of JSON.
"""

import functools
import importlib
import json
import os
import sys
import warnings

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")
warnings.simplefilter("ignore")

import applications
import given
import layers
import networks
import numpy as np

IMAGES = 2
KINDS = {"layer": layers, "network": networks, "application": applications, "real": given}


def main():
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what the libraries print is no answer
    keras, folder = importlib.import_module(sys.argv[1]), sys.argv[2]

    def answer(**values):
        answers.write(json.dumps(values) + "\n")
        answers.flush()

    names = {kind: module.names(keras) for kind, module in KINDS.items()}
    answer(version=version(keras), names=names, left_out=layers.left_out(keras))
    for line in sys.stdin:
        try:
            answer(**make(keras, *json.loads(line), folder=folder))
        except Exception as error:  # many types: this version can't make that one
            answer(cannot="{}: {}".format(type(error).__name__, str(error)[:300]))


def version(keras):
    if hasattr(keras, "__version__"):
        return keras.__version__
    import tensorflow

    return getattr(
        importlib.import_module("tensorflow.keras"), "__version__", tensorflow.__version__
    )


def make(keras, kind, names, folder):
    """Build one network, save it in every kind of file, and write what its layers compute."""
    keras.backend.clear_session()
    seed(keras)
    made = KINDS[kind].build(keras, names)
    model = made["model"]
    if model.count_params() > float(sys.argv[3]):
        return {"left_out": "{:,} parameters".format(model.count_params())}
    if kind != "real":
        vary(keras, model)
    images = np.random.RandomState(0).randint(0, 256, (IMAGES, *model.input_shape[1:]))
    images = images.astype("uint8")
    values = outputs(keras, model, images.astype("float32"))
    # In some deep networks, random weights amplify the smallest difference.
    others = outputs(keras, model, (images * (1 + 1e-6)).astype("float32"))
    steps = sorted(values)
    np.savez(
        os.path.join(folder, "expected.npz"),
        images=images,
        steps=np.array(steps),
        **{"value{}".format(i): values[each] for i, each in enumerate(steps)},
        **{"other{}".format(i): others[each] for i, each in enumerate(steps)},
    )
    files, cannot = ([], {}) if kind == "real" else save(keras, model, folder, kind)
    return {
        "files": files,
        "cannot_save": cannot,
        "taps": made.get("taps", {}),
    }


def seed(keras):
    if hasattr(keras.utils, "set_random_seed"):
        keras.utils.set_random_seed(1)
    else:
        import tensorflow

        tensorflow.random.set_seed(1)
        np.random.seed(1)


def vary(keras, model):
    """Give biases and moving statistics values as training would: zeros and ones hide faults."""
    rng = np.random.RandomState(1)
    for _, layer in named_layers(keras, model):
        if type(layer).__name__ == "Normalization":
            continue
        varied = []
        for weight, value in zip(layer.weights, layer.get_weights()):
            name = getattr(weight, "path", weight.name)
            if value.dtype.kind != "f" and value.dtype.name != "bfloat16":
                varied.append(value)
            elif "moving_var" in name:
                varied.append(rng.uniform(0.5, 2, value.shape))
            elif "gamma" in name and "scale" not in name:
                varied.append(value * rng.uniform(0.5, 1.5, value.shape))
            elif any(each in name for each in ("bias", "beta", "moving_mean", "alpha")):
                varied.append(value + 0.1 * rng.normal(size=value.shape))
            else:
                varied.append(value * (0.02 if layer.name == "stem" else 1))
        if varied:
            layer.set_weights(
                [np.asarray(new, old.dtype) for new, old in zip(varied, layer.get_weights())]
            )


def outputs(keras, model, images):
    """The mean over all positions of what each layer gives, by the layer's name.

    Layers inside nested models have names such as "backbone/conv"; uses of a layer that is used
    several times, "conv:1", "conv:2".
    """
    recorded = {}
    for name, layer in named_layers(keras, model):
        record(layer, recorded.setdefault(name, []))
    model(images, training=False)
    found = {}
    for name, values in recorded.items():
        for number, value in enumerate(values, start=1):
            key = name if len(values) == 1 else "{}:{}".format(name, number)
            if getattr(value, "ndim", 0) >= 2 and value.dtype.kind != "O":
                found[key] = value.mean(tuple(range(1, value.ndim - 1)))
    for _, layer in named_layers(keras, model):
        vars(layer).pop(computing(layer), None)
    return found


def computing(layer):
    """The method that a call of the layer runs. Quantized layers have another."""
    is_quantized = getattr(layer, "quantization_mode", None) is not None
    return "quantized_call" if is_quantized else "call"


def record(layer, values):
    compute = getattr(layer, computing(layer))

    @functools.wraps(compute)
    def call(*arguments, **options):
        output = compute(*arguments, **options)
        if hasattr(output, "shape"):
            values.append(np.asarray(output).astype("float64"))
        return output

    layer.__dict__[computing(layer)] = call


def named_layers(keras, model, prefix=""):
    for layer in model.layers:
        if isinstance(layer, keras.Model):
            yield from named_layers(keras, layer, prefix + layer.name + "/")
        elif type(layer).__name__ != "InputLayer":
            yield prefix + layer.name, layer


def save(keras, model, folder, kind):
    """Save the model in every kind of file that this version writes; or say why it can't."""
    files, cannot = [], {}
    is_keras3 = version(keras)[0] == "3"
    kinds = {".h5": {}, ".keras": {}}
    if not is_keras3 and kind == "network":
        kinds["-saved"] = {"save_format": "tf"}
    for ending, options in kinds.items():
        path = os.path.join(folder, "model" + ending)
        try:
            model.save(path, **options)
            files.append("model" + ending)
        except Exception as error:  # many types: this version can't write that model so
            cannot[ending] = "{}: {}".format(type(error).__name__, str(error)[:200])
    return files, cannot


if __name__ == "__main__":
    main()
