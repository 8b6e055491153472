"""How fast each engine embeds, network by network, in turns in one process.

The encoders of keras.applications with random weights at 224x224, up to their last layer with
global average pooling, and the reference network. Each round measures Keras and ncnn for a few
seconds each, on random pixels in memory, with as many calls at once as there are cores.

    python -m benchmarks.engines --json benchmarks/results/engines-amx.json
"""

from __future__ import annotations

import argparse
import json
import pathlib
import statistics
import tempfile
import warnings

from encoder.compute.keras_setup import import_keras
from encoder.compute.machine import cpu_name
from pipeline.cli.doctor import images_per_second
from pipeline.embedding.call_sizes import images_together, share_cores

NETWORKS = (
    *("reference", "VGG16", "VGG19", "ResNet50", "ResNet50V2", "MobileNet", "MobileNetV2"),
    *("MobileNetV3Large", "EfficientNetB0", "EfficientNetV2B0", "DenseNet121", "Xception"),
    *("ConvNeXtTiny", "InceptionV3", "NASNetMobile"),
)
SIDE = 224
SECONDS = 3.0  # of each measurement


def main() -> None:
    """Print a row of a table for each network."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--networks", nargs="+", default=NETWORKS)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--bfloat16", action="store_true", help="measure this, too")
    parser.add_argument("--json", type=pathlib.Path)
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    share_cores(SIDE, SIDE)
    import_keras()
    rows = []
    more = ["Keras, bfloat16"] if options.bfloat16 else []
    heads = ["network", "Keras", *more, "ncnn", "ratio (rounds)", "large kernels", "auto"]
    print(f"{cpu_name()}\n\n| {' | '.join(heads)} |\n|{'---|' * len(heads)}", flush=True)
    for name in options.networks:
        rows.append(row_of(name, options.rounds, options.bfloat16))
        print(line_of(rows[-1]), flush=True)
    if options.json:
        found = {"machine": cpu_name(), "networks": rows}
        options.json.write_text(json.dumps(found, indent=1) + "\n")


def row_of(name: str, rounds: int, with_bfloat16: bool) -> dict[str, object]:
    """The rates of one network, in images per second, for each round."""
    import keras

    import encoder
    from encoder.bundle import read_bundle

    keras.backend.clear_session()
    with tempfile.TemporaryDirectory() as folder:
        layer = "pool_5" if name == "reference" else -1
        encoder.extract(network(name), f"{folder}/b", layer=layer)
        _, form = read_bundle(f"{folder}/b")
        chosen = encoder.load(f"{folder}/b").engine.name
        engines = {"keras": encoder.load(f"{folder}/b", engine="keras")}
        if hasattr(form, "sha256"):
            engines["ncnn"] = encoder.load(f"{folder}/b", engine="ncnn")
        if with_bfloat16:
            half = f"{folder}/half"
            encoder.extract(network(name), half, layer=layer, precision="bfloat16")
            engines["keras, bfloat16"] = encoder.load(half)
    rates: dict[str, list[float]] = {each: [] for each in engines}
    for _ in range(rounds):
        for each, made in engines.items():
            together = images_together(8, made.spec.height, made.spec.width)
            rates[each].append(round(images_per_second(made, 8, SECONDS, together), 2))
    said = {"refused": form.refused} if hasattr(form, "refused") else {}
    return {
        "network": name,
        "rates": rates,
        "auto": chosen,
        "large_kernels": getattr(form, "large_kernels", None),
        "difference": getattr(form, "max_difference", None),
        **said,
    }


def network(name: str):
    """The network of a name, with random weights."""
    import keras

    import encoder

    keras.utils.set_random_seed(1)
    if name == "reference":
        return encoder.vgg16_encoder_decoder((200, 200, 1))
    make = getattr(keras.applications, name)
    return make(weights=None, include_top=False, input_shape=(SIDE, SIDE, 3))


def line_of(row: dict) -> str:
    """A row of the table."""
    rates = row["rates"]
    found = rates.get("ncnn")
    keras_ = rates["keras"]
    if not found:
        return f"| {row['network']} | {statistics.median(keras_):.1f} | {row['refused']} | | | |"
    ratios = [there / here for there, here in zip(found, keras_, strict=True)]
    half = rates.get("keras, bfloat16")
    cells = [
        row["network"],
        f"{statistics.median(keras_):.1f}",
        *([f"{statistics.median(half):.1f}"] if half else []),
        f"{statistics.median(found):.1f}",
        f"{statistics.median(ratios):.2f} ({', '.join(f'{each:.2f}' for each in ratios)})",
        row["large_kernels"],
        row["auto"],
    ]
    return f"| {' | '.join(map(str, cells))} |"


if __name__ == "__main__":
    main()
