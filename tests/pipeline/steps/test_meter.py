"""Measures of a bundle: nothing is lost to rounding, or counted twice after a failed attempt."""

import pytest

from encoder.storage.retries import count_retries, take_retries
from pipeline.measures import Collector, Distribution
from pipeline.steps.meter import Meter


@pytest.fixture
def meter(monkeypatch):
    """A meter, and what Beam's distributions got, by name."""
    meter, got = Meter(), {}
    for name, metric in meter._metrics.items():
        monkeypatch.setattr(
            metric, "update", lambda value, name=name: got.setdefault(name, []).append(value)
        )
    take_retries()
    meter.start()
    return meter, got


def work_of(meter):
    (output,) = meter.end()
    assert output.tag == "measures"
    return output.value


def test_many_short_times_have_the_right_sum(meter):
    meter, got = meter
    for _ in range(1000):
        meter.add("read_ms", 0.25)
    assert sum(got["read_ms"]) == 250
    assert set(map(type, got["read_ms"])) == {int}
    assert work_of(meter).values == {"read_ms": Distribution(1000, 250.0, 0.25)}


def test_a_failed_attempt_leaves_nothing(meter):
    meter, _ = meter
    meter.add("batch_images", 8)
    meter.start()
    meter.add("batch_images", 3)
    assert work_of(meter).values == {"batch_images": Distribution(1, 3, 3)}


def test_what_threads_collected(meter):
    meter, got = meter
    collector = Collector()
    collector.add("read_bytes", 7)
    meter.take(collector)
    meter.take(collector)
    assert got == {"read_bytes": [7]}


def test_repeated_requests_are_counted_once(meter):
    meter, got = meter
    count_retries()
    count_retries(2)
    work = work_of(meter)
    assert work.values["retries"] == Distribution(1, 3, 3)
    assert work.began <= work.ended
    meter.start()
    assert list(meter.end()) == []
    assert got["retries"] == [3]
