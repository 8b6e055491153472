"""The last box: Commit."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable

import apache_beam as beam
from apache_beam.pvalue import AsIter, AsSingleton, PCollection

from encoder.storage.base import configure
from pipeline.embedding.unused_bundle import check_unused
from pipeline.logs import name_run, run_logger
from pipeline.measures import Work, total_of
from pipeline.records import Counts, ListState, Note, Part, Rewrite
from pipeline.runs.accounting import Outcome
from pipeline.runs.commit import commit
from pipeline.runs.job import Job, RunIdentity
from pipeline.runs.snapshot import Snapshot

_LOG = run_logger(__name__)


@dataclasses.dataclass
class Commit(beam.PTransform):  # type: ignore[misc]
    """Make the run's work live, once everything is written: Snapshot -> the run's id.

    Attributes:
        job: the run, or the template of runs.
        identity: one element, the run's id, start and token.
        counts: the counts of planning.
        written: parts of embeddings and failures.
        rewritten: old parts that were written again.
        taken: waiting parts that become live, merged where there are many.
        lists: the lists that were read.
        changes: parts of the log of changes.
        notes: what there is to tell about the inputs.
        rows: numbers of rows of the lists that were read.
        work: the measures of all bundles that read, embedded or wrote.
    """

    job: Job
    identity: PCollection[RunIdentity]
    counts: PCollection[Counts]
    written: PCollection[Part]
    rewritten: PCollection[Rewrite]
    taken: PCollection[Part]
    lists: PCollection[ListState]
    changes: PCollection[Part]
    notes: PCollection[Note]
    rows: PCollection[int]
    work: PCollection[Work]

    def expand(self, snapshot: PCollection[Snapshot]) -> PCollection[str]:
        return (
            snapshot.pipeline
            | "Once" >> beam.Create([self.job])
            | "Commit"
            >> beam.Map(
                _commit,
                identity=AsSingleton(self.identity),
                snapshot=AsSingleton(snapshot),
                counts=AsIter(self.counts),
                written=AsIter(self.written),
                rewritten=AsIter(self.rewritten),
                taken=AsIter(self.taken),
                lists=AsIter(self.lists),
                changes=AsIter(self.changes),
                notes=AsIter(self.notes),
                rows=AsIter(self.rows),
                work=AsIter(self.work),
            )
        )


def _commit(
    job: Job,
    identity: RunIdentity,
    snapshot: Snapshot,
    counts: Iterable[Counts],
    written: Iterable[Part],
    rewritten: Iterable[Rewrite],
    taken: Iterable[Part],
    lists: Iterable[ListState],
    changes: Iterable[Part],
    notes: Iterable[Note],
    rows: Iterable[int],
    work: Iterable[Work],
) -> str:
    configure(job.storage)
    name_run(identity.run_id)
    total = Counts()
    for each in counts:
        total.add(each)
    _LOG.info("everything is written; the commit begins")
    outcome = Outcome(
        snapshot,
        total,
        list(written),
        list(rewritten),
        list(taken),
        list(lists),
        list(changes),
        list(notes),
        sum(rows),
        total_of(work),
    )
    if not any(part.loads for part in outcome.written):
        options = job.options
        check_unused(job.bundle, job.spec.id, options.trust, options.custom_objects)
    record = commit(job.as_run(identity), outcome)
    phases = ", ".join(f"{name} {seconds:.1f} s" for name, seconds in record["phases"].items())
    _LOG.info("committed %d images; %s", record["listed"], phases)
    return record["run_id"]
