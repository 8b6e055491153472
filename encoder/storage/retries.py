"""How many requests to buckets were repeated in this process."""

from __future__ import annotations

import threading

_lock = threading.Lock()
_count = 0


def count_retries(number: int = 1) -> None:
    """Count requests that failed and are repeated, from any thread."""
    global _count
    with _lock:
        _count += number


def take_retries() -> int:
    """The number of repeated requests since the last call."""
    global _count
    with _lock:
        taken, _count = _count, 0
    return taken
