import re

import pytest

from pipeline.__main__ import main
from pipeline.cli import doctor
from pipeline.embedding.call_sizes import images_together

pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def no_gpu(monkeypatch):
    monkeypatch.setattr(doctor, "nvidia_gpus", list)
    monkeypatch.setattr(doctor, "nvidia_driver", str)
    monkeypatch.setattr(doctor, "gpus_without_driver", int)


def test_what_it_says(small_bundle, capsys):
    assert main(["doctor", "--encoder", str(small_bundle)]) == 0
    out = capsys.readouterr().out
    together = images_together(8, 32, 32)
    for line in (
        r"GPU +none found",
        r"backend +TensorFlow [\d.]+ with Keras [\d.]+",
        r"computes on +\d+ cores? of .+",
        r"precision +this machine's CPU has .+",
        rf"timed +.*small\.keras, 32x32, {together} images at a time, ncnn [\d.]+, float32: "
        r"[\d.]+ images/s",
    ):
        assert re.search(f"^{line}$", out, re.M), line
    assert "problem" not in out


def test_a_gpu_that_the_backend_cannot_use(small_bundle, capsys, monkeypatch):
    monkeypatch.setattr(doctor, "nvidia_gpus", lambda: ["NVIDIA L4"])
    monkeypatch.setattr(doctor, "nvidia_driver", lambda: "570.86.15")
    assert main(["doctor", "--encoder", str(small_bundle)]) == 1
    out = capsys.readouterr().out
    assert re.search(r"^GPU +NVIDIA L4$", out, re.M)
    assert re.search(r"^driver +NVIDIA 570\.86\.15$", out, re.M)
    assert re.search(r"^problem +TensorFlow can't use the GPU: pip install", out, re.M)


@pytest.mark.long
def test_without_a_bundle_vgg16_is_timed(capsys):
    assert main(["doctor"]) == 0
    timed = re.findall(
        r"timed +VGG16, 224x224, .*, (\w+) [\d.]+, (\w+): ([\d.]+) images/s",
        capsys.readouterr().out,
    )
    assert [each[:2] for each in timed] == [
        ("ncnn", "float32"),
        ("TensorFlow", "float32"),
        ("TensorFlow", "bfloat16"),
    ]
    assert all(float(rate) > 0 for *_, rate in timed)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--encoder", "/no/such/bundle"], "--encoder: '/no/such/bundle' is not an encoder bundle"),
        (["--nonsense"], "unknown option '--nonsense'"),
    ],
)
def test_wrong_options_exit_2(words, said, capsys):
    assert main(["doctor", *words]) == 2
    assert said in capsys.readouterr().err


def test_a_gpu_without_its_driver(small_bundle, capsys, monkeypatch):
    monkeypatch.setattr(doctor, "gpus_without_driver", lambda: 1)
    assert main(["doctor", "--encoder", str(small_bundle)]) == 1
    assert re.search(
        r"^problem +there is a GPU, but no NVIDIA driver", capsys.readouterr().out, re.M
    )
