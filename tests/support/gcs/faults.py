"""Faults of the connection to a bucket."""

from __future__ import annotations

import random
import threading
from collections import Counter
from collections.abc import Callable, Sequence

STATUS = ("429", "500", "503")
# The request is done and the answer is not heard; the answer breaks off, stops early, differs in a
# byte, trickles, or never comes.
LOST, RESET, TRUNCATED, CORRUPTED, SLOW, TIMEOUT = (
    "lost",
    "reset",
    "truncated",
    "corrupted",
    "slow",
    "timeout",
)
ALL = (*STATUS, LOST, RESET, TRUNCATED, CORRUPTED, SLOW, TIMEOUT)


class Faults:
    """The faults, and the requests that they happen to.

    Args:
        share: the share of requests with a fault.
        kinds: the kinds of faults, from ALL.
        match: kind of request (list, stat, read, upload, delete) and name of object -> whether
            it may suffer.
        seed: of the random choice.
        stall: seconds without a byte, for a timeout.
        pause: seconds between the few pieces of a slow body.

    Attributes:
        injected: the number of times that each fault happened.
    """

    def __init__(
        self,
        share: float,
        kinds: Sequence[str] = ALL,
        match: Callable[[str, str], bool] = lambda kind, name: True,
        seed: int = 0,
        stall: float = 1.0,
        pause: float = 0.3,
    ) -> None:
        self.stall, self.pause = stall, pause
        self.injected: Counter[str] = Counter()
        self._share, self._kinds, self._match = share, kinds, match
        self._random = random.Random(seed)
        self._lock = threading.Lock()

    def pick(self, kind: str, name: str) -> str:
        """The fault of a request, or "" for none."""
        with self._lock:
            if not self._match(kind, name) or self._random.random() >= self._share:
                return ""
            fault = self._random.choice(self._kinds)
            if fault == CORRUPTED and kind != "read":  # only the checksum tells what it should be
                return ""
            self.injected[fault] += 1
            return fault
