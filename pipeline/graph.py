"""The whole job on one screen.

    inputs - ListImages -+- images, unreadable folders -------------------+
                         +- archives ----+                                |
                                         +- ListMembers - images, named --+- PlanRun
                         +- rows, named -+                                |
    output - ReadIndex --+- rows, named ----------------------------------+

    PlanRun -+- todo - ReadImages -+- decoded - EmbedImages -+-- WriteParts ---+
             |                     |                         |                 |
             |                     +- failures --------------+-- WriteFailures +- MergeParts -+
             |                     +- copied ------------------- WriteCopies --+              |
             |                     +- touched ---------------+                                |
             +- stale, renewed ------------------------------+-- RewriteParts ----------------+- Commit
             +- seen ------------------------------------------- WriteChanges ----------------+
             +- counts -----------------------------------------------------------------------+

ReadImages, WriteParts and WriteCopies add to what WriteChanges writes; they and EmbedImages also give
measures of their work (to Commit). ReadIndex also gives the contents that have vectors (to ReadImages),
the waiting parts and those with other columns (to RewriteParts), the snapshot and damaged parts
(to Commit), and the run's identity (to all that write, and to PlanRun). ListImages also gives the
lists that it read (to Commit).

From ReadImages to WriteParts everything runs fused, behind the one shuffle that spreads the work:
pixels never cross a shuffle, and finished parts are durable while the job still runs.
"""

from __future__ import annotations

from typing import NamedTuple

import apache_beam as beam
from apache_beam.pvalue import PCollection

from pipeline.embedding.call_sizes import CallSettings
from pipeline.embedding.decode import Reading
from pipeline.embedding.handler import EncoderHandler
from pipeline.inputs.resolve import ListSettings
from pipeline.records import Note
from pipeline.runs.job import Job
from pipeline.runs.scope import Scope
from pipeline.steps.commit import Commit
from pipeline.steps.embed import EmbedImages
from pipeline.steps.index import Index, ReadIndex
from pipeline.steps.list_images import ArchivesToLook, ListImages, Listing, ListMembers
from pipeline.steps.merge import MergeParts, NewParts
from pipeline.steps.plan import Plan, PlanRun, ToPlan
from pipeline.steps.read import ReadImages, ToRead
from pipeline.steps.write import (
    RewriteParts,
    ToRewrite,
    WriteChanges,
    WriteEmbeddings,
    WriteFailures,
)


class Planned(NamedTuple):
    """The first half of a job: what exists, what the output holds, and what has to be done."""

    listing: Listing
    known: Index
    plan: Plan
    notes: PCollection[Note]


def build(pipeline: beam.Pipeline, job: Job) -> PCollection[str]:
    """Add the job to a pipeline. The result is the run's id, once the run is committed."""
    listing, index, plan, notes = add_plan(pipeline, job)
    options, storage, tally = job.options, job.storage, job.tally_folder
    calls = CallSettings(options.batch_size, job.spec.height, job.spec.width)
    writer = job.writer
    run_id = "" if job.is_template else job.run_id  # for log messages
    reading = Reading(
        job.spec,
        options.limits,
        options.max_bytes,
        job.packing,
        options.reads,
        options.read_timeout,
        options.decode_timeout,
    )
    handler = EncoderHandler(
        bundle=job.bundle,
        encoder_id=job.spec.id,
        batch_size=options.batch_size,
        engine=options.engine,
        trust=options.trust,
        custom_objects=options.custom_objects,
        across_processes=job.across_processes,
        storage=storage,
        tally_folder=tally,
        run_id=run_id,
    )
    write = WriteEmbeddings(writer, index.identity, calls, tally, storage)

    read = ToRead(plan.loose, plan.packed) | "ReadImages" >> ReadImages(
        reading,
        calls,
        job.output,
        job.buckets,
        index.contents,
        index.filter,
        tally,
        storage,
        run_id,
    )
    embed = EmbedImages(handler, calls)
    if job.accelerator:
        embed = embed.with_resource_hints(accelerator=job.accelerator)
    vectors = read.decoded | "EmbedImages" >> embed
    # They are not flattened before they are written, since some runners would then write parts late.
    written = vectors.embedded | "WriteParts" >> write
    copied = read.copied | "WriteCopies" >> write
    failed = (
        (read.failures, vectors.failures)
        | "Failures" >> beam.Flatten()
        | "WriteFailures" >> WriteFailures(writer, index.identity, calls, tally, storage)
    )
    stale = (plan.stale, index.outdated) | "Stale" >> beam.Flatten()
    touched = (read.touched, plan.renewed) | "Touched" >> beam.Flatten()
    waiting = index.waiting | "ByPath" >> beam.Map(lambda part: (part.path, part))
    old = ToRewrite(stale, read.found, touched, plan.staged, waiting)
    rewritten = old | "RewriteParts" >> RewriteParts(writer, index.identity, storage)
    parts = (written.parts, copied.parts, failed) | "Parts" >> beam.Flatten()
    new = NewParts(parts, rewritten.taken) | "MergeParts" >> MergeParts(
        writer, index.identity, storage
    )
    return index.snapshot | "Commit" >> Commit(
        job,
        identity=index.identity,
        counts=plan.counts,
        written=new.written,
        rewritten=(rewritten.rewrites, index.damaged) | "Rewritten" >> beam.Flatten(),
        taken=new.taken,
        lists=listing.lists,
        changes=(plan.seen, read.seen, written.seen, copied.seen)
        | "Seen" >> beam.Flatten()
        | "WriteChanges" >> WriteChanges(writer, index.identity, storage),
        notes=(notes, read.notes) | "AllNotes" >> beam.Flatten(),
        rows=listing.rows,
        work=(read.measures, vectors.measures, written.measures, copied.measures)
        | "Measures" >> beam.Flatten(),
    )


def add_plan(pipeline: beam.Pipeline, job: Job, remember: bool = True) -> Planned:
    """Add the first half of a job, which decides what to do.

    Args:
        pipeline: the pipeline to add it to.
        job: the run to plan.
        remember: whether to write the uris that lists name. Nothing else is written.
    """
    options, storage = job.options, job.storage
    lists = ListSettings(
        options.lists,
        job.carried,
        job.output,
        job.spec.id,
        options.read_timeout,
        remember,
        job.roots,
    )
    scope = Scope(
        job.inputs, retry_failures=options.retry_failures, columns=job.columns, check=job.check
    )

    listing = pipeline | "ListImages" >> ListImages(job.inputs, job.packing, lists, storage)
    index = pipeline | "ReadIndex" >> ReadIndex(job.writer, job.buckets, storage, job.identity)
    archives = ArchivesToLook(listing.archives, index.rows, index.named_archives)
    members = archives | "ListMembers" >> ListMembers(job.packing, scope, storage)
    sides = ToPlan(
        listed=(listing.images, members.images) | "Listed" >> beam.Flatten(),
        known=index.rows,
        named=(index.named, members.named) | "Named" >> beam.Flatten(),
    )
    plan = sides | "PlanRun" >> PlanRun(
        scope, listing.unreadable, index.inputs, index.identity, job.tally_folder
    )
    notes = (listing.notes, members.notes, plan.notes) | "Notes" >> beam.Flatten()
    return Planned(listing, index, plan, notes)
