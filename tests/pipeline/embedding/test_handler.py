import gc
import shutil
import weakref

import numpy as np
import pytest

import encoder
from encoder.errors import InputError
from encoder.spec import read_spec
from pipeline.embedding.handler import EncoderHandler, LoadedEncoder
from pipeline.errors import JobError
from pipeline.records import Decoded, Embedded
from tests.conftest import small_network


class Picky:
    """Sums pixels. Fails for more than two images, and for an image whose pixels are all 255."""

    computes_on = "a fake"

    def embed(self, images, batch_size):
        if len(images) > 2:
            raise MemoryError("out of memory")
        if (images == 255).all(axis=(1, 2, 3)).any():
            raise RuntimeError("white is too much")
        return images.sum(axis=(1, 2)).astype(np.float32)


def decoded(number, value):
    pixels = np.full((2, 2, 3), value, np.uint8)
    return Decoded(f"{number}.jpg", "v", 1, f"sha{number}", 2, 2, False, None, pixels)


@pytest.fixture
def handler():
    return EncoderHandler("nowhere", "0123", batch_size=8)


def test_a_batch_that_fails_costs_only_the_images_that_fail(handler):
    model = LoadedEncoder(Picky)
    outcomes = list(handler.embed([decoded(n, 255 if n == 3 else n) for n in range(7)], model))
    assert [outcome.uri for outcome in outcomes] == [f"{n}.jpg" for n in range(7)]
    assert [isinstance(outcome, Embedded) for outcome in outcomes] == [True] * 3 + [False] + [
        True
    ] * 3
    assert outcomes[2].embedding.tolist() == [8, 8, 8]
    assert (outcomes[3].stage, outcomes[3].error) == ("embed", "RuntimeError")
    assert len({o.load for o in outcomes if isinstance(o, Embedded)}) == 1


def test_values_that_are_not_finite_are_a_failure(handler):
    class Broken:
        computes_on = "a fake"

        def embed(self, images, batch_size):
            return np.array([[1, 2], [np.nan, np.inf]], np.float32)

    good, bad = handler.embed([decoded(0, 0), decoded(1, 1)], LoadedEncoder(Broken))
    assert isinstance(good, Embedded)
    assert (bad.stage, bad.message) == ("embed", "2 values are not finite")


def test_loading_warms_up_and_each_load_has_its_own_id(small_bundle):
    handler = EncoderHandler(str(small_bundle), read_spec(small_bundle).id, batch_size=2)
    images = np.zeros((2, 32, 32, 3), np.uint8)
    one, two = (handler.load_model().embed(images, 2) for _ in range(2))
    np.testing.assert_array_equal(one[0], two[0])
    assert one[1] != two[1]


def test_a_bundle_that_was_replaced_meanwhile_is_noticed(small_bundle, handler):
    model = EncoderHandler(str(small_bundle), "0123456789abcdef", batch_size=2).load_model()
    with pytest.raises(JobError, match="somebody has replaced it"):
        handler.embed([decoded(0, 0)], model)


@pytest.mark.parametrize("change", ["weights", "preprocess", "id"])
def test_vectors_do_not_change_without_a_new_id(small_bundle, tmp_path, handler, change):
    """A bundle with changed weights is refused by load and by the job's workers."""
    shutil.copytree(small_bundle, tmp_path, dirs_exist_ok=True)
    spec = read_spec(tmp_path)
    if change == "weights":
        encoder.extract(small_network(seed=5), tmp_path / "other", preprocess="unit")
        shutil.copy(tmp_path / "other" / "encoder.keras", tmp_path)
    else:
        value = {"preprocess": "tf", "id": "0123456789abcdef"}[change]
        (tmp_path / "encoder.json").write_text(spec.replace(**{change: value}).to_json())
    with pytest.raises(InputError, match="do not belong together"):
        encoder.load(tmp_path)
    model = EncoderHandler(str(tmp_path), read_spec(tmp_path).id, batch_size=2).load_model()
    with pytest.raises(JobError, match="do not belong together"):
        handler.embed([decoded(0, 0)], model)


def test_a_bundle_that_can_not_be_loaded_is_no_failure_of_images(tmp_path, handler):
    model = EncoderHandler(str(tmp_path), "0123456789abcdef", batch_size=2).load_model()
    with pytest.raises(JobError, match=r"can't be loaded: .*is not an encoder bundle"):
        handler.embed([decoded(0, 0)], model)


def test_a_lost_model_process_is_no_failure_of_images(handler):
    class Gone:
        computes_on = "a fake"

        def embed(self, images, batch_size):
            raise EOFError

    with pytest.raises(EOFError):
        handler.embed([decoded(0, 0)], Gone())


def test_a_load_is_no_part_of_the_first_call(handler, monkeypatch):
    """Measures of a call, with a clock that only the fakes move."""
    now = [0.0]
    monkeypatch.setattr("pipeline.embedding.handler.time.perf_counter", lambda: now[0])

    class Slow:
        computes_on = "a fake"

        def embed(self, images, batch_size):
            now[0] += 2
            if len(images) > 2:
                raise MemoryError
            return images.sum(axis=(1, 2)).astype(np.float32)

    def load():
        now[0] += 14
        return Slow()

    model = LoadedEncoder(load)
    *outcomes, call = handler.run_inference([decoded(n, n) for n in range(3)], model)
    assert [outcome.load.seconds for outcome in outcomes] == [14] * 3
    assert call.values == (
        *(("batch_images", 3), ("cache_hits", 0)),
        *(("inference_ms", 2000), ("load_ms", 14_000)),  # one half of a list that failed
        ("inference_ms", 2000),
    )
    *_, call = handler.run_inference([decoded(2, 2), decoded(3, 3)], model)
    assert call.values == (("batch_images", 2), ("cache_hits", 1), ("inference_ms", 2000))


def test_the_size_of_a_batch_is_that_of_its_pixels(handler):
    assert handler.get_num_bytes([decoded(0, 0)] * 3) == 36


def test_each_content_is_computed_once(handler):
    calls = []

    class Counting:
        computes_on = "a fake"

        def embed(self, images, batch_size):
            calls.append(len(images))
            return images.sum(axis=(1, 2)).astype(np.float32)

    model = LoadedEncoder(Counting)
    twins = [decoded(1, 5), decoded(1, 5)._replace(uri="twin.jpg"), decoded(2, 6)]
    one, twin, other = handler.embed(twins, model)
    assert (one.uri, twin.uri) == ("1.jpg", "twin.jpg")
    assert one.embedding.tolist() == twin.embedding.tolist() != other.embedding.tolist()
    (again,) = handler.embed([decoded(2, 6)._replace(uri="again.jpg")], model)
    assert again.embedding.tolist() == other.embedding.tolist()
    assert calls == [2]


def test_a_batch_is_filled_up_and_its_halves_are_not(handler):
    asked = []

    class Small:
        """An encoder with memory for two images."""

        computes_on = "a fake"

        def embed(self, images, batch_size):
            asked.append((len(images), batch_size))
            if (batch_size or len(images)) > 2:
                raise MemoryError
            return images.sum(axis=(1, 2)).astype(np.float32)

    outcomes = handler.embed([decoded(n, n + 1) for n in range(3)], LoadedEncoder(Small))
    assert [outcome.embedding.tolist()[0] for outcome in outcomes] == [4, 8, 12]
    assert asked == [(3, 8), (1, None), (2, None)]


def test_vectors_are_remembered_within_a_bound_of_bytes(monkeypatch):
    calls = []

    class Wide:
        computes_on = "a fake"

        def embed(self, images, batch_size):
            calls.append(len(images))
            return np.zeros((len(images), 1000), np.float32)

    monkeypatch.setattr(
        "pipeline.embedding.handler.RECENT_BYTES", 10_000
    )  # two vectors of 4,000 bytes
    handler = EncoderHandler("nowhere", "0123", batch_size=8)
    model = LoadedEncoder(Wide)
    first = handler.embed([decoded(n, n) for n in range(6)], model)
    assert all(outcome.embedding.base is None for outcome in first)
    handler.embed([decoded(4, 4), decoded(5, 5)], model)
    assert calls == [6]
    handler.embed([decoded(3, 3)], model)
    assert calls == [6, 1]


def test_a_batch_of_more_than_is_remembered(monkeypatch):
    monkeypatch.setattr("pipeline.embedding.handler.RECENT_BYTES", 1)
    handler = EncoderHandler("nowhere", "0123", batch_size=8)
    twins = [decoded(n % 3, n % 3) for n in range(6)]
    outcomes = handler.embed(twins[:2] + twins[3:5], LoadedEncoder(Picky))
    assert [outcome.embedding.tolist()[0] for outcome in outcomes] == [0, 4, 0, 4]


def test_failures_are_not_remembered_and_keep_no_pixels(handler):
    arrays = []

    class Failing:
        computes_on = "a fake"

        def embed(self, images, batch_size):
            arrays.append(weakref.ref(images))
            raise RuntimeError("no")

    model = LoadedEncoder(Failing)
    for calls in (1, 2):
        (failure,) = handler.embed([decoded(0, 0)], model)
        assert failure.error == "RuntimeError"
        assert len(arrays) == calls
    gc.collect()
    assert [array() for array in arrays] == [None, None]
