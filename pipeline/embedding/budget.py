"""A bound on the sum of amounts that threads hold: bytes of files, pixels of images."""

from __future__ import annotations

import contextlib
import threading
from collections import deque
from collections.abc import Iterator


class Budget:
    """Admits threads in the order in which they ask, as long as the sum of their amounts fits.

    An amount above the total is admitted alone, so that no thread waits forever.

    Args:
        total: the sum that may be held at the same time.
    """

    def __init__(self, total: int) -> None:
        self._total = total
        self._held = 0
        self._waiting: deque[object] = deque()
        self._changed = threading.Condition()

    def take(self, amount: int) -> None:
        """Wait until the amount fits, and hold it."""
        ticket = object()
        with self._changed:
            self._waiting.append(ticket)
            self._changed.wait_for(
                lambda: (
                    self._waiting[0] is ticket
                    and (not self._held or self._held + amount <= self._total)
                )
            )
            self._waiting.popleft()
            self._held += amount
            self._changed.notify_all()  # the next in line may fit, too

    def give_back(self, amount: int) -> None:
        """Return an amount that was taken."""
        with self._changed:
            self._held -= amount
            self._changed.notify_all()

    @contextlib.contextmanager
    def hold(self, amount: int) -> Iterator[None]:
        """Hold an amount while the block runs."""
        self.take(amount)
        try:
            yield
        finally:
            self.give_back(amount)
