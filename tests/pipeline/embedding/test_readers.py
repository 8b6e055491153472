import threading

import pytest

from pipeline.embedding.readers import GivenUp, Readers


@pytest.fixture
def readers():
    opened = []

    def make(count, seconds):
        opened.append(Readers(count, seconds))
        return opened[-1]

    yield make
    for each in opened:
        each.close()


def test_a_read_that_hangs_is_given_up_and_the_others_go_on(readers):
    release, done, lost = threading.Event(), [], threading.Event()
    finished = threading.Semaphore(0)

    def hang(watch):
        try:
            with watch.limited(lost.set):
                release.wait(30)
        except GivenUp:
            done.append("came back")
            finished.release()
            raise
        done.append("goes on")

    def work(watch):
        with watch.limited(lambda: done.append("lost")):
            pass
        done.append("done")
        finished.release()

    pool = readers(1, 0.2)  # the only thread hangs
    pool.submit(hang)
    for _ in range(5):
        pool.submit(work)
    assert lost.wait(10)
    for _ in range(5):
        assert finished.acquire(timeout=10)
    assert done == ["done"] * 5
    release.set()
    assert finished.acquire(timeout=10)
    assert done[5:] == ["came back"]


def test_what_does_not_read_is_not_limited(readers):
    finished, lost = threading.Event(), threading.Event()

    def work(watch):
        with watch.limited(lost.set), watch.paused():
            threading.Event().wait(0.6)
        threading.Event().wait(0.6)
        finished.set()

    readers(1, 0.2).submit(work)
    assert finished.wait(10)
    assert not lost.is_set()


def test_a_pause_after_the_loss_ends_the_thread(readers):
    release, ended, lost = threading.Event(), threading.Event(), threading.Event()

    def work(watch):
        try:
            with watch.limited(lost.set):
                release.wait(30)
                with watch.paused():
                    raise AssertionError("it goes on")
        except GivenUp:
            ended.set()
            raise

    readers(1, 0.1).submit(work)
    assert lost.wait(10)
    release.set()
    assert ended.wait(10)
