"""The last step, as a Beam transform: Commit."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterable
from typing import Any

import apache_beam as beam
from apache_beam.pvalue import AsIter, AsSingleton

from pipeline.records import (
    ListState,
    Part,
    Rewrite,
    Snapshot,
)
from pipeline.runs.accounting import Outcome
from pipeline.runs.commit import commit
from pipeline.runs.job import Job


@dataclasses.dataclass
class Commit(beam.PTransform):  # type: ignore[misc]
    """Make it all live, once everything is written: Snapshot -> the run's id."""

    job: Job
    counts: Any
    written: Any
    rewritten: Any
    lists: Any
    changes: Any

    def expand(self, snapshot: Any) -> Any:
        return (
            snapshot.pipeline
            | "Once" >> beam.Create([self.job])
            | "Commit"
            >> beam.Map(
                _commit,
                snapshot=AsSingleton(snapshot),
                counts=AsIter(self.counts),
                written=AsIter(self.written),
                rewritten=AsIter(self.rewritten),
                lists=AsIter(self.lists),
                changes=AsIter(self.changes),
            )
        )


def _commit(
    job: Job,
    snapshot: Snapshot,
    counts: Iterable[Counter[str]],
    written: Iterable[Part],
    rewritten: Iterable[Rewrite],
    lists: Iterable[ListState],
    changes: Iterable[Part],
) -> str:
    total: Counter[str] = Counter()
    for each in counts:
        total.update(each)
    outcome = Outcome(snapshot, total, list(written), list(rewritten), list(lists), list(changes))
    return str(commit(job, outcome)["run_id"])
