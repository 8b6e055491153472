import os
import pathlib
import re
import subprocess
import sys

import h5py
import numpy as np
import pytest
from PIL import Image

from examples import denoise, picture
from examples.real_data import photographs
from pipeline.__main__ import main

ROOT = pathlib.Path(__file__).parents[2]


def test_photographs(tmp_path):
    copies = photographs(tmp_path)
    assert len(copies) >= 20
    assert len({path.read_bytes() for path in copies}) == len(copies)


@pytest.mark.long
def test_processes_that_make_the_weights_at_the_same_time(vgg16_weights, tmp_path):
    make = f"from examples.real_data import *; packaged_vgg16_weights({str(tmp_path)!r})"
    processes = [subprocess.Popen([sys.executable, "-c", make]) for _ in range(2)]
    assert [process.wait() for process in processes] == [0, 0]
    assert [path.name for path in tmp_path.iterdir()] == [vgg16_weights.name]
    with h5py.File(tmp_path / vgg16_weights.name) as made, h5py.File(vgg16_weights) as expected:
        path = "layers/conv2d_12/vars/0"
        np.testing.assert_array_equal(made[path][...], expected[path][...])


@pytest.mark.long
def test_the_demo(vgg16_weights, tmp_path):
    """Like "make demo", with weights that the same function has made before."""
    result = subprocess.run(
        [sys.executable, "-m", "examples.demo", "--output", tmp_path / "demo"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stdout + result.stderr
    assert "22 images listed" in result.stdout
    nearest = result.stdout.partition("nearest to motorcycle_left.png")[2].splitlines()[1]
    assert nearest.endswith("motorcycle_right.png")
    assert "Traceback" not in result.stderr
    made = {path.name for path in (tmp_path / "demo").iterdir() if path.is_dir()}
    assert made == {"photos", "vgg16", "dataset"}
    assert not any((ROOT / name).exists() for name in made), "it would hide a package of ours"


def test_the_whole_story_at_a_small_size(tmp_path, capsys):
    """With a few steps of training. Random vectors would find 1 of 22."""
    found = denoise.main(["--output", str(tmp_path / "story"), "--seconds", "6"])
    out = capsys.readouterr().out
    assert "pool_5, 512 values" in out
    assert "embedded 44 of 44 images" in out
    assert found >= 0.3, out


def test_the_picture_as_the_readme_calls_it(images, small_bundle, tmp_path, monkeypatch):
    output = tmp_path / "demo-output" / "dataset"
    words = ["run", "--input", images, "--encoder", small_bundle, "--output", output]
    assert main([str(word) for word in words]) == 0
    monkeypatch.chdir(tmp_path)
    assert subprocess.run(python_picture(), env=environment(), check=False).returncode == 0
    assert Image.open(tmp_path / "demo-output" / "embeddings.png").height > 5 * 22
    picture.main([str(output), str(tmp_path / "other.png")])
    assert Image.open(tmp_path / "other.png").height > 5 * 22


def test_a_picture_of_no_dataset(tmp_path):
    result = subprocess.run(
        python_picture(),
        env=environment(),
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 2
    assert "demo-output/dataset" in result.stderr
    assert "'make demo' makes one" in result.stderr
    assert "Traceback" not in result.stderr


def python_picture():
    """The command in the README."""
    (command,) = re.findall(r"`(python -m examples\.picture)`", (ROOT / "README.md").read_text())
    return [sys.executable, *command.split()[1:]]


def environment():
    """To run from another folder."""
    return {**os.environ, "PYTHONPATH": str(ROOT)}
