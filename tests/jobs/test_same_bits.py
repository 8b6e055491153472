"""Whole runs give the same bits for any batches and bundles of Beam."""

import os
import random
import subprocess
import sys

import keras
import numpy as np
import pytest

import encoder
import pipeline
from pipeline.__main__ import main
from tests.conftest import write_image
from tests.support.dataset import Dataset

IMAGES = 21  # two batches and a rest, or one full batch and one that is almost full


@pytest.fixture(scope="module", params=["keras", "ncnn"])
def world(tmp_path_factory, request):
    """VGG16 on small images: the folder of photographs, and the vectors of a plain run."""
    folder = tmp_path_factory.mktemp(request.param)
    keras.utils.set_random_seed(1)
    model = keras.applications.VGG16(weights=None, include_top=False, input_shape=(64, 64, 3))
    encoder.extract(model, folder / "bundle", preprocess="caffe")
    (folder / "photos").mkdir()
    for number in range(IMAGES):
        write_image(folder / "photos" / f"{number:02}.png", number)
    return folder, vectors(folder, "plain")


def engine_of(folder):
    """The options that name the engine of a world."""
    return ["--engine", folder.name.rstrip("0123456789")]


def vectors(folder, name, *more, given=None):
    output = folder / name
    options = [*engine_of(folder), *more]
    Dataset(output, folder / "bundle").run(given or folder / "photos", options=options)
    rows = pipeline.open_dataset(str(output)).to_table().to_pylist()
    found = {row["uri"].rsplit("/", 1)[1]: np.float32(row["embedding"]).tobytes() for row in rows}
    assert len(found) == len(rows) == IMAGES
    return found


def test_vectors_tell_images_apart(world):
    assert len(set(world[1].values())) == IMAGES


@pytest.mark.parametrize(
    "more",
    [
        ("--batch-size", "13"),
        ("--batch-size", "32"),
        ("--direct_num_workers", "3", "--direct_running_mode", "multi_threading"),
        ("--direct_num_workers", "2", "--direct_running_mode", "multi_processing"),
    ],
    ids=" ".join,
)
def test_batches_and_workers_do_not_matter(world, more):
    folder, expected = world
    assert vectors(folder, "-".join(more).replace("-", ""), *more) == expected


@pytest.mark.parametrize("threads", ["", pytest.param("1", marks=pytest.mark.long), "2"])
def test_calls_side_by_side_do_not_matter(world, threads):
    folder, expected = world
    environment = {**os.environ, "TF_NUM_INTRAOP_THREADS": threads}
    if not threads:
        del environment["TF_NUM_INTRAOP_THREADS"]  # as with the command line
    output = folder / f"threads-{threads}"
    words = ["--input", str(folder / "photos"), "--encoder", str(folder / "bundle")]
    words += engine_of(folder)
    command = [sys.executable, "-m", "pipeline", "run", *words, "--output", str(output)]
    subprocess.run(command, env=environment, check=True, timeout=300)
    assert vectors(folder, output.name) == expected


@pytest.mark.parametrize("seed", [1, 2])
def test_order_does_not_matter(world, seed):
    folder, expected = world
    paths = sorted(str(path) for path in (folder / "photos").iterdir())
    random.Random(seed).shuffle(paths)
    shuffled = folder / f"shuffled-{seed}.txt"
    shuffled.write_text("\n".join(paths) + "\n")
    assert vectors(folder, f"order-{seed}", given=shuffled) == expected


def test_another_run_for_a_few_more(world):
    folder, expected = world
    some = folder / "some.txt"
    some.write_text(f"{folder}/photos/03.png\n{folder}/photos/20.png\n")
    words = ["--encoder", str(folder / "bundle"), "--output", str(folder / "later")]
    words += engine_of(folder)
    assert main(["run", "--input", str(some), *words]) == 0
    assert vectors(folder, "later") == expected
