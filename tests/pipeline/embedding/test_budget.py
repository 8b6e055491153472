import threading
import time

from pipeline.embedding.budget import Budget


def wait_until(condition):
    deadline = time.monotonic() + 10
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.001)
    assert condition()


def test_the_sum_stays_within_the_total():
    budget, held, most = Budget(10), [0], [0]
    lock = threading.Lock()

    def work(amount):
        with budget.hold(amount):
            with lock:
                held[0] += amount
                most[0] = max(most[0], held[0])
            time.sleep(0.001)
            with lock:
                held[0] -= amount

    threads = [threading.Thread(target=work, args=(n % 6,)) for n in range(60)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert held == [0]
    assert 5 < most[0] <= 10


def test_what_is_larger_than_the_total_is_let_in_alone_and_in_its_turn():
    budget, order = Budget(10), []

    def work(name, amount):
        with budget.hold(amount):
            order.append(name)

    budget.take(5)
    threads = []
    for name, amount in (("huge", 100), ("small", 1)):
        threads.append(threading.Thread(target=work, args=(name, amount)))
        threads[-1].start()
        wait_until(lambda: len(budget._waiting) == len(threads))
    assert order == []  # the small one would fit, but must wait for its turn
    budget.give_back(5)
    for thread in threads:
        thread.join(10)
    assert order == ["huge", "small"]


def test_it_is_given_back_after_an_error():
    budget = Budget(1)
    try:
        with budget.hold(1):
            raise ValueError
    except ValueError:
        pass
    budget.take(1)
