"""The whole job on one screen.

    inputs -- ListImages --+                       +- ReadImages - EmbedImages - WriteParts -+
                           +- PlanRun - todo ------+        +------- failures - WriteParts --+- Commit
    output -- ReadIndex ---+      +---- stale ------------------------------- RewriteParts --+

From ReadImages to WriteParts everything runs fused, behind the one Reshuffle: pixels never cross
a shuffle, and a part file is there to stay while the job still runs.
"""

from __future__ import annotations

from typing import Any

import apache_beam as beam

from pipeline.embed_steps import Commit, EmbedImages, ReadImages, RewriteParts, WriteParts
from pipeline.job import Job
from pipeline.plan_steps import ListImages, PlanRun, ReadIndex
from pipeline.records import EMBEDDINGS, FAILURES


def build(pipeline: beam.Pipeline, job: Job) -> Any:
    """Add the job to a pipeline; gives the PCollection of its one run record."""
    listing, index, plan = add_plan(pipeline, job)
    read = plan.todo | "Spread" >> beam.Reshuffle() | "ReadImages" >> ReadImages(job)
    embedded = read.decoded | "EmbedImages" >> EmbedImages(job)
    parts = embedded.embedded | "WriteParts" >> WriteParts(job, EMBEDDINGS)
    failed = (
        (read.failures, embedded.failures)
        | "Failures" >> beam.Flatten()
        | "WriteFailures" >> WriteParts(job, FAILURES)
    )
    stale = {"stale": plan.stale, "touched": read.touched}
    return index["snapshot"] | "Commit" >> Commit(
        job,
        counts=(listing.counts, plan.counts) | "Counts" >> beam.Flatten(),
        written=(parts, failed) | "Parts" >> beam.Flatten(),
        rewritten=(stale | "RewriteParts" >> RewriteParts(job), index["damaged"])
        | "Rewritten" >> beam.Flatten(),
    )


def add_plan(pipeline: beam.Pipeline, job: Job) -> tuple[Any, Any, Any]:
    """The first half, which decides and writes nothing: listing, index and plan."""
    listing = pipeline | "ListImages" >> ListImages(job)
    index = pipeline | "ReadIndex" >> ReadIndex(job)
    sides = {"listed": listing.images, "known": index["rows"]}
    return listing, index, sides | "PlanRun" >> PlanRun(job)
