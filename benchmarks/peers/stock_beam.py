"""Beam as it comes, RunInference and WriteToParquet: python -m benchmarks.peers.stock_beam PHOTOS
MODEL OUT

Needs tensorflow_hub besides.
"""

import io
import pathlib
import sys

import apache_beam as beam
import keras
import numpy as np
import pyarrow as pa
from apache_beam.ml.inference.base import KeyedModelHandler, RunInference
from apache_beam.ml.inference.tensorflow_inference import TFModelHandlerNumpy
from apache_beam.runners.portability.fn_api_runner import FnApiRunner
from PIL import Image

BATCH = 32


def decode(path):
    with open(path, "rb") as file:
        image = Image.open(io.BytesIO(file.read())).convert("RGB")
    pixels = np.asarray(image.resize((224, 224), Image.Resampling.BILINEAR), np.float32)
    return path, keras.applications.vgg16.preprocess_input(pixels.copy())


def to_row(keyed):
    uri, result = keyed
    return {"uri": uri, "embedding": np.asarray(result.inference).tolist()}


def main(photos, model, output):
    paths = sorted(str(path) for path in pathlib.Path(photos).iterdir())
    handler = TFModelHandlerNumpy(
        model, load_model_args={"compile": False}, min_batch_size=BATCH, max_batch_size=BATCH
    )
    schema = pa.schema([("uri", pa.string()), ("embedding", pa.list_(pa.float32()))])
    with beam.Pipeline(runner=FnApiRunner()) as pipeline:
        _ = (
            pipeline
            | beam.Create(paths)
            | beam.Reshuffle()
            | beam.Map(decode)
            | RunInference(KeyedModelHandler(handler))
            | beam.Map(to_row)
            | beam.io.WriteToParquet(output, schema)
        )


main(*sys.argv[1:])
