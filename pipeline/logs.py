"""Log messages of a run, with the run's id. Nothing heavy is imported.

On a worker of another machine, the runner takes the messages and leaves out all other fields. So
each message ends with ``run=<id>``, and a search for that finds all of a run.
"""

from __future__ import annotations

import logging
from collections.abc import MutableMapping
from typing import Any

_run_id = ""


def run_id() -> str:
    """The id of the run that this process works for; "" before it is known."""
    return _run_id


class _RunLogger(logging.LoggerAdapter):  # type: ignore[type-arg]  # not generic in Python 3.10
    # Any: the type of the base class.
    def process(
        self, msg: object, kwargs: MutableMapping[str, Any]
    ) -> tuple[object, MutableMapping[str, Any]]:
        """Add the run's id to the message, and as a field of the record."""
        if not _run_id:
            return msg, kwargs
        return f"{msg} run={_run_id}", {**kwargs, "extra": {"run_id": _run_id}}


def run_logger(name: str) -> logging.LoggerAdapter:  # type: ignore[type-arg]
    """The logger of a module."""
    return _RunLogger(logging.getLogger(name), {})


def name_run(run_id: str) -> None:
    """Name the run that this process works for; later messages carry its id."""
    global _run_id
    _run_id = run_id
