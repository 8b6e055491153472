"""Random damage: decoding gives an array or raises an error, and stderr stays empty."""

import os

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies as st

import encoder
from tests.support.image_files import every_kind

pytestmark = pytest.mark.slow

MOST = int(os.environ.get("FUZZ_EXAMPLES", "40"))  # for each kind of file

places = st.integers(0, 1 << 16)
edits = st.one_of(
    st.tuples(st.just("put"), places, st.binary(min_size=1, max_size=8)),
    st.tuples(st.just("insert"), places, st.binary(min_size=1, max_size=40)),
    st.tuples(st.just("cut"), places, st.integers(1, 60)),
    st.tuples(st.just("zero"), places, st.integers(1, 60)),
    st.tuples(st.just("copy"), places, places),
)


def edited(data, changes):
    data = bytearray(data)
    for kind, place, argument in changes:
        at = place % max(len(data), 1)
        if kind == "put":
            data[at : at + len(argument)] = argument
        elif kind == "insert":
            data[at:at] = argument
        elif kind == "cut":
            del data[at : at + argument]
        elif kind == "zero":
            data[at : at + argument] = bytes(argument)
        else:
            data[at : at + 20] = data[argument % max(len(data), 1) :][:20]
    return bytes(data)


@pytest.fixture(scope="module")
def enc(small_bundle):
    return encoder.load(small_bundle)


def checked(enc, data):
    try:
        pixels = enc.decode(data)
    except Exception:
        return
    assert pixels.dtype == np.uint8
    assert pixels.shape == (enc.spec.height, enc.spec.width, enc.spec.channels)


@pytest.mark.parametrize("kind", every_kind())
def test_damaged_files_give_an_array_or_an_error(enc, kind, capfd):
    @hypothesis.settings(
        max_examples=MOST,
        deadline=20_000,
        database=None,
        suppress_health_check=list(hypothesis.HealthCheck),
    )
    @hypothesis.given(st.lists(edits, min_size=1, max_size=6))
    def run(changes):
        checked(enc, edited(every_kind()[kind], changes))

    run()
    assert capfd.readouterr() == ("", "")


@hypothesis.settings(max_examples=200, deadline=20_000, database=None)
@hypothesis.given(
    st.binary(max_size=400), st.sampled_from(sorted(every_kind())), st.integers(0, 32)
)
def test_any_bytes_behind_any_beginning(enc, tail, kind, length):
    checked(enc, every_kind()[kind][:length] + tail)
