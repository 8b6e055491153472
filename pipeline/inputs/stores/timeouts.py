"""Abort the run after many time-outs in a row; a single unreachable object only fails itself."""

from __future__ import annotations

from pipeline.errors import JobError


class ConsecutiveTimeouts:
    """Counts time-outs in a row.

    Without it, a run would try each of a million images until its deadline, one after another.

    Args:
        most: the number of requests in a row that may time out.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._count = 0

    def record(self, error: Exception | None = None) -> None:
        """Record the outcome of a request.

        Args:
            error: the error of the request; None if it succeeded. Only a TimeoutError counts,
                anything else starts the count anew.

        Raises:
            JobError: more requests in a row timed out than are allowed.
        """
        self._count = self._count + 1 if isinstance(error, TimeoutError) else 0
        if self._count > self._most:
            raise JobError(
                f"{self._count} requests in a row were given up, the last with: {error}. What was "
                "embedded is kept: when the store answers again, start the run again"
            )
