"""Embed a large image collection with an encoder bundle, on Apache Beam, and keep it up to date.

In: images, and an encoder bundle. Out: a dataset of Parquet files, one vector per image. Imports
``encoder``, never the other way round; docs/architecture.md shows the floors.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from encoder import __version__
from pipeline.inputs.stores.registry import add_other_stores

if TYPE_CHECKING:
    from pipeline.dataset.reader import open_dataset
    from pipeline.errors import JobError
    from pipeline.graph import build
    from pipeline.launch.runner import run
    from pipeline.options import JobOptions
    from pipeline.runs.job import Job
    from pipeline.runs.new_job import new_job

# Loaded on first use, so that reading a dataset does not import Beam.
_HOMES = {
    "Job": "runs.job",
    "JobOptions": "options",
    "JobError": "errors",
    "build": "graph",
    "new_job": "runs.new_job",
    "open_dataset": "dataset.reader",
    "run": "launch.runner",
}

# Every process that reads images imports this package, so each knows these stores.
add_other_stores()

__all__ = [
    "Job",
    "JobError",
    "JobOptions",
    "__version__",
    "build",
    "new_job",
    "open_dataset",
    "run",
]


def __getattr__(name: str) -> Any:  # Any: users' type checkers would reject calls of an object
    if name in _HOMES:
        return getattr(importlib.import_module(f"pipeline.{_HOMES[name]}"), name)
    raise AttributeError(f"module 'pipeline' has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
