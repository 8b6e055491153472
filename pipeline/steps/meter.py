"""Measures of a bundle: to Beam's metrics, and as one element for the run record."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator

from apache_beam.metrics import Metrics
from apache_beam.pvalue import TaggedOutput

from encoder.storage.retries import take_retries
from pipeline.logs import run_logger
from pipeline.measures import MEASURES, Collector, Name, Values, Work, with_value
from pipeline.steps.outputs import METRICS

MEASURED = "measures"  # the tag of a step's measures
_LOG = run_logger(__name__)


class Meter:
    """Takes values in the thread of a bundle, where alone Beam's metrics can be updated.

    Beam's distributions take whole numbers. What rounding cuts off is added to the next value, so
    that a sum of many short times is right.
    """

    def __init__(self) -> None:
        self._metrics = {name: Metrics.distribution(METRICS, name) for name in MEASURES}
        self._rest = dict.fromkeys(MEASURES, 0.0)

    def start(self) -> None:
        """Begin a bundle; forget what a failed attempt measured."""
        self._values: Values = {}
        self._began = time.time()

    def add(self, name: Name, value: float) -> None:
        """Add a value, in the unit of the measure's name."""
        with_value(self._values, name, value)
        self._rest[name] += value
        whole = math.floor(self._rest[name])
        self._rest[name] -= whole
        self._metrics[name].update(whole)

    def take(self, collector: Collector) -> None:
        """Add what other threads have collected."""
        for name, value in collector.take():
            self.add(name, value)

    def end(self) -> Iterator[TaggedOutput]:
        """End a bundle: its measures, tagged for finish_bundle; nothing if there are none."""
        retries = take_retries()  # of all threads of the process since some thread asked
        if retries:
            self.add("retries", retries)
            _LOG.warning("requests to the bucket that were repeated: %d", retries)
        if not self._values:
            return
        ended = time.time()
        texts = (
            f"{name} {each.sum / each.count:.1f} (x {each.count}, most {each.max:.1f})"
            for name, each in self._values.items()
        )
        _LOG.info("bundle of %.1f s: %s", ended - self._began, "; ".join(texts))
        yield TaggedOutput(MEASURED, Work(self._values, self._began, ended))
