"""The length of the lists of images for the encoder: short first, longer if they are fast."""

import numpy as np
import pytest

from pipeline.embedding import call_sizes as calls
from pipeline.embedding.call_sizes import CallSettings
from pipeline.records import Decoded
from pipeline.steps import embed as encode_steps
from pipeline.steps.embed import _Gather


@pytest.fixture
def machine(monkeypatch):
    """A machine with three cores, enough memory and no GPU; gives a function that changes it."""

    def has(cores=3, threads=1, gpus=()):
        for module in (calls, encode_steps):
            monkeypatch.setattr(module, "visible_gpus", lambda: list(gpus))
        monkeypatch.setattr(calls, "usable_cores", lambda: cores)
        monkeypatch.setattr(calls, "threads_per_call", lambda height, width: threads)

    has()
    return has


def of(batch_size):
    return CallSettings(batch_size, height=32, width=32)


@pytest.fixture
def clock(monkeypatch):
    """A clock that only the test moves."""
    now = [0.0]
    monkeypatch.setattr(encode_steps.time, "monotonic", lambda: now[0])
    return now


def lists(gather, count, clock, seconds):
    """The lengths of the lists for this number of images, if each list takes this time."""
    sizes = []
    gather.start_bundle()
    for number in range(count):
        pixels = np.zeros((2, 2, 3), np.uint8)
        image = Decoded(f"{number}.jpg", "v", 1, f"sha{number}", 2, 2, False, None, pixels)
        for each in gather.process(image):
            sizes.append(len(each))
            clock[0] += seconds * len(each)
    return sizes + [len(each.value) for each in gather.finish_bundle()]


@pytest.mark.parametrize(
    ("batch_size", "side_by_side", "alone"),
    [(1, 3, 1), (4, 12, 4), (8, 24, 8), (10, 24, 16), (24, 24, 24), (100, 120, 104)],
)
def test_a_list_has_whole_calls_for_all_cores(machine, batch_size, side_by_side, alone):
    assert of(batch_size).images_together() == side_by_side
    machine(gpus=["a GPU"])
    assert of(batch_size).images_together() == batch_size
    machine(threads=3)  # too little memory for calls side by side
    assert of(batch_size).images_together() == alone


def test_lists_grow_while_they_take_little_time(machine, clock):
    machine(cores=1)
    gather = _Gather(of(8))
    gather.setup()
    assert lists(gather, 250, clock, seconds=0.001) == [8, 16, 32, 64, 64, 64, 2]
    assert lists(gather, 70, clock, seconds=0.001) == [64, 6]


def test_lists_of_a_slow_encoder_stay_short(machine, clock):
    gather = _Gather(of(8))
    gather.setup()
    assert lists(gather, 60, clock, seconds=0.1) == [24, 24, 12]


def test_lists_for_a_gpu_are_batches(machine, clock):
    machine(gpus=["a GPU"])
    gather = _Gather(of(16))
    gather.setup()
    assert lists(gather, 40, clock, seconds=0) == [16, 16, 8]


def test_a_bundle_that_ended_early_leaves_nothing_behind(machine, clock):
    gather = _Gather(of(8))
    gather.setup()
    gather.start_bundle()
    assert list(gather.process("an image of an attempt that failed")) == []
    assert lists(gather, 24, clock, seconds=1) == [24]
