"""The whole job on one screen.

    inputs - ListImages -+- images, unreadable folders -------------------+
                         +- archives ----+                                |
                                         +- ListMembers - images, named --+- PlanRun
                         +- rows, named -+                                |
    output - ReadIndex --+- rows, named ----------------------------------+

    PlanRun -+- todo - ReadImages -+- decoded - EmbedImages -+-- WriteParts ---+
             |                     |                         |                 |
             |                     +- failures --------------+-- WriteFailures +
             |                     +- copied ------------------- WriteCopies --+- Commit - run id
             |                     +- touched ---------------+                 |
             +- stale, renewed ------------------------------+-- RewriteParts -+
             +- seen ------------------------------------------- WriteChanges -+
             +- counts --------------------------------------------------------+

ReadImages, WriteParts and WriteCopies add to what WriteChanges writes down. ReadIndex also says
which contents have vectors (ReadImages), which parts have other columns (RewriteParts), what it
found and what is damaged (Commit); ListImages, which lists it read (Commit).

From ReadImages to WriteParts everything runs fused, behind the one shuffle that spreads the work:
pixels never cross a shuffle, and a part file is there to stay while the job still runs.
"""

from __future__ import annotations

from typing import Any

import apache_beam as beam

from pipeline.records import EMBEDDINGS, FAILURES
from pipeline.runs.job import Job
from pipeline.steps.commit import Commit
from pipeline.steps.embed import EmbedImages
from pipeline.steps.index import ReadIndex
from pipeline.steps.list_images import ListImages, ListMembers
from pipeline.steps.plan import PlanRun
from pipeline.steps.read import ReadImages
from pipeline.steps.write import RewriteParts, WriteChanges, WriteParts


def build(pipeline: beam.Pipeline, job: Job) -> Any:
    """Add the job to a pipeline; gives the PCollection of its run's id, once committed."""
    listing, index, plan = add_plan(pipeline, job)
    todo = {"loose": plan.loose, "packed": plan.packed}
    read = todo | "ReadImages" >> ReadImages(job, index["contents"])
    embedded = read.decoded | "EmbedImages" >> EmbedImages(job)
    # Not flattened before they are written: on some runners that would hold parts back to the end.
    written = embedded.embedded | "WriteParts" >> WriteParts(job, EMBEDDINGS)
    copied = read.copied | "WriteCopies" >> WriteParts(job, EMBEDDINGS)
    failed = (
        (read.failures, embedded.failures)
        | "Failures" >> beam.Flatten()
        | "WriteFailures" >> WriteParts(job, FAILURES)
    )
    stale = {
        "stale": (plan.stale, index["outdated"]) | "Stale" >> beam.Flatten(),
        "touched": (read.touched, plan.renewed) | "Touched" >> beam.Flatten(),
    }
    return index["snapshot"] | "Commit" >> Commit(
        job,
        counts=plan.counts,
        written=(written.parts, copied.parts, failed.parts) | "Parts" >> beam.Flatten(),
        rewritten=(stale | "RewriteParts" >> RewriteParts(job), index["damaged"])
        | "Rewritten" >> beam.Flatten(),
        lists=listing.lists,
        changes=(plan.seen, read.seen, written.seen, copied.seen)
        | "Seen" >> beam.Flatten()
        | "WriteChanges" >> WriteChanges(job),
    )


def add_plan(pipeline: beam.Pipeline, job: Job, remember: bool = True) -> tuple[Any, Any, Any]:
    """The first half, which decides: listing, index and plan. It writes what lists name, at most."""
    listing = pipeline | "ListImages" >> ListImages(job, remember)
    index = pipeline | "ReadIndex" >> ReadIndex(job)
    archives = {
        "archives": listing.archives,
        "known": index["rows"],
        "named": index["named_archives"],
    }
    members = archives | "ListMembers" >> ListMembers(job)
    sides = {
        "listed": (listing.images, members.images) | "Listed" >> beam.Flatten(),
        "known": index["rows"],
        "named": (index["named"], members.named) | "Named" >> beam.Flatten(),
    }
    return listing, index, sides | "PlanRun" >> PlanRun(job, listing.unreadable)
