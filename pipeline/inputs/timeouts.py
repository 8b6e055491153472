"""A store that answers nothing any more ends the run; one object that can't be had does not."""

from __future__ import annotations

from pipeline.errors import JobError


class ConsecutiveTimeouts:
    """Counts requests in a row that were given up.

    Otherwise each of a million images would be tried until its deadline, one after the other.

    Args:
        most: requests in a row that may be given up.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._count = 0

    def record(self, error: Exception | None = None) -> None:
        """Take how a request has ended.

        Raises:
            JobError: too many have been given up.
        """
        self._count = self._count + 1 if isinstance(error, TimeoutError) else 0
        if self._count > self._most:
            raise JobError(
                f"{self._count} requests in a row were given up, the last with: {error}. What was "
                "embedded is kept: when the store answers again, start the run again"
            )
