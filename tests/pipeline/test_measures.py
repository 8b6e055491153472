"""Values of many threads, and their sums."""

import pickle
import threading

from pipeline.measures import MEASURES, Collector, Distribution, Work, total_of, with_value


def test_values_of_all_threads_arrive_once():
    collector, taken = Collector(), []

    def add():
        for number in range(5000):
            collector.add("read_bytes", number)

    threads = [threading.Thread(target=add) for _ in range(4)]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        taken += collector.take()
    taken += collector.take()
    assert len(taken) == 20_000
    assert sum(value for _, value in taken) == 4 * sum(range(5000))


def test_a_block_is_timed_also_if_it_raises():
    collector = Collector()
    try:
        with collector.timed("write_ms"):
            raise OSError
    except OSError:
        pass
    ((name, value),) = collector.take()
    assert name == "write_ms"
    assert 0 <= value < 60_000


def test_the_total_of_bundles():
    one, other = {}, {}
    with_value(one, "write_ms", 2.5)
    with_value(one, "read_ms", 1.0)
    with_value(other, "read_ms", 4.0)
    total = total_of(pickle.loads(pickle.dumps([Work(one, 5.0, 9.0), Work(other, 3.0, 8.0)])))
    assert (total.began, total.ended) == (3.0, 9.0)
    assert list(total.values.items()) == [
        ("read_ms", Distribution(2, 5.0, 4.0)),
        ("write_ms", Distribution(1, 2.5, 2.5)),
    ]
    assert total_of([]) is None


def test_names_end_with_a_unit_or_are_what_is_counted():
    for name in MEASURES:
        assert name.endswith(("_ms", "_bytes", "_images")) or name in ("retries", "cache_hits")
