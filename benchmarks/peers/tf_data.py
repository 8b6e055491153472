"""A tf.data pipeline and ``model.predict``: python -m benchmarks.peers.tf_data PHOTOS MODEL OUT"""

import pathlib
import sys

import keras
import pyarrow as pa
import pyarrow.parquet as pq
import tensorflow as tf

BATCH = 32


def decode(path):
    image = tf.io.decode_jpeg(tf.io.read_file(path), channels=3)
    image = tf.image.resize(image, (224, 224), antialias=True)
    return keras.applications.vgg16.preprocess_input(image)


def main(photos, model, output):
    paths = sorted(str(path) for path in pathlib.Path(photos).iterdir())
    model = keras.models.load_model(model, compile=False)
    images = tf.data.Dataset.from_tensor_slices(paths)
    images = images.map(decode, num_parallel_calls=tf.data.AUTOTUNE)
    vectors = model.predict(images.batch(BATCH).prefetch(tf.data.AUTOTUNE), verbose=0)
    rows = {"uri": paths, "embedding": list(vectors)}
    pq.write_table(pa.table(rows), output)


main(*sys.argv[1:])
