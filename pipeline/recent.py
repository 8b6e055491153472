"""What was used last, within a bound of bytes."""

from __future__ import annotations

import collections
from typing import Generic, TypeVar

_Key = TypeVar("_Key")
_Value = TypeVar("_Value")


class Recent(Generic[_Key, _Value]):
    """Keeps the values that were used last. Not safe to use from several threads.

    Args:
        most_bytes: that the values may have together; the last one is kept however large it is.
    """

    def __init__(self, most_bytes: int) -> None:
        self._most = most_bytes
        self._held = 0
        self._values: collections.OrderedDict[_Key, tuple[_Value, int]] = collections.OrderedDict()

    def get(self, key: _Key) -> _Value | None:
        """The value, if it is still there."""
        if key not in self._values:
            return None
        self._values.move_to_end(key)
        return self._values[key][0]

    def put(self, key: _Key, value: _Value, size: int) -> None:
        """Keep a value of some bytes that is not there."""
        self._values[key] = (value, size)
        self._held += size
        while self._held > self._most and len(self._values) > 1:
            _, (_, gone) = self._values.popitem(last=False)
            self._held -= gone
