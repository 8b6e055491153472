"""The commands of ``python -m pipeline``. Each imports what it needs when it runs.

A command takes the parsed options and the words that the parser did not know, and gives the exit
code.
"""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from encoder.compute.keras_setup import check_backend
from encoder.errors import InputError
from encoder.spec import check_id
from encoder.terminal import quick_imports, say, say_data
from pipeline.cli.cost import Machine, read_machines
from pipeline.cli.gpu_options import settings_for
from pipeline.dataset.layout import output_folder
from pipeline.errors import JobError
from pipeline.inputs.stores.registry import is_other_store
from pipeline.inputs.uris import readable
from pipeline.launch.checks import check_command, check_places, check_plans, named_runner
from pipeline.launch.dataflow import parse_words
from pipeline.options import DEFAULT_BATCH_SIZE, JobOptions, count_text, size_text

if TYPE_CHECKING:
    from pipeline.runs.job import Job


def job_of(arguments: argparse.Namespace, batch_size: int) -> Job:
    """The job that the options of run and plan describe.

    Args:
        arguments: the parsed options.
        batch_size: the default, for options without --batch-size.
    """
    from pipeline.runs.new_job import new_job

    options = JobOptions(
        batch_size=batch_size if arguments.batch_size is None else arguments.batch_size,
        reads=arguments.reads_in_flight,
        read_timeout=arguments.read_timeout,
        decode_timeout=arguments.decode_timeout,
        max_failure_ratio=arguments.max_failure_ratio,
        allow_empty=arguments.allow_empty,
        allow_deletes=arguments.allow_deletes,
        retry_failures=arguments.retry_failures,
        uri_column=arguments.uri_column,
        list_delimiter=arguments.list_delimiter,
        list_quoting=arguments.list_quoting,
        list_encoding=arguments.list_encoding,
        column_types=tuple(arguments.column_type),
        image_field=arguments.image_feature or None,
        id_field=arguments.id_feature or None,
        max_pixels=arguments.max_pixels,
        max_bytes=arguments.max_bytes,
        allow_truncated=arguments.allow_truncated,
        engine=arguments.engine,
        trust=arguments.trust,
        custom_objects=tuple(dict.fromkeys(arguments.custom_objects)),
        check_content=arguments.check_content,
        include=tuple(dict.fromkeys(arguments.include)),
        exclude=tuple(dict.fromkeys(arguments.exclude)),
        allow_root=tuple(dict.fromkeys(arguments.allow_root)),
    )
    keep = [name for names in arguments.keep for name in names.split(",")]
    if "" in keep:
        raise InputError(f"--keep is {','.join(arguments.keep)!r}; expected names between commas")
    return new_job(
        arguments.input, arguments.encoder, arguments.output, arguments.run_id, keep, options
    )


def check_run(options: argparse.Namespace, rest: list[str]) -> None:
    """Check the options of run that decide where it runs, before anything is loaded or asked."""
    settings = settings_for(options.gpu, rest)
    check_command(settings.beam_options, settings.gpu, not options.no_wait)
    check_places(named_runner(rest), options.encoder, options.output, options.input)
    if options.run_id and parse_words(rest)[0].is_template:
        raise InputError(
            f"--run-id {options.run_id!r}: a template is started many times, and each execution "
            "gets a run id of its own; leave --run-id out"
        )


def check_plan(options: argparse.Namespace, rest: list[str]) -> None:
    """The same for plan."""
    check_plans(named_runner(rest))
    check_command(rest)


def run(options: argparse.Namespace, rest: list[str]) -> int:
    """Embed what is new or changed."""
    check_backend()
    settings = settings_for(options.gpu, rest)
    job = _described(options, rest, settings.batch_size)
    from dataclasses import replace

    from pipeline.cli.compile_bundle import compile_once
    from pipeline.cli.summary import summary_lines
    from pipeline.dataset.manifest import read_manifest
    from pipeline.logs import name_run, run_logger
    from pipeline.records import FAILURES
    from pipeline.runs.job import versions
    from pipeline.runs.progress import live_progress
    from pipeline.upkeep.failed_runs import Start, failure_recorded

    with quick_imports():
        from pipeline.launch import beam_options as beam
        from pipeline.launch import runner

    beam_options = beam.parse_beam_options(settings.beam_options)
    job = replace(job, accelerator=settings.gpu.text if settings.gpu else "")
    name_run(job.run_id)
    logs = options.verbose or options.log_format == "json"
    run_logger(__name__).info(
        "run %s starts on %s: encoder %s into %s",
        job.run_id,
        beam.runner_of(beam_options),
        job.spec.id,
        job.output,
    )
    compile_once(job, has_gpus=settings.gpu is not None)
    start = Start(
        run_id=job.run_id,
        encoder_id=job.spec.id,
        started=job.started,
        inputs=[readable(each.text) for each in job.inputs],
        versions=versions(),
        runner=beam.runner_of(beam_options),
    )
    with (
        failure_recorded(job.output, start),
        live_progress(beam.is_in_process(beam_options), is_changing=not logs) as tally_folder,
    ):
        job = replace(job, tally_folder=tally_folder)
        record = runner.run(job, beam_options, not options.no_wait)
    if record is None:
        return 0  # the runner has said what was done instead
    state = read_manifest(job.output)[0].encoders[job.spec.id]
    for line in summary_lines(record, job.output, state.of_kind(FAILURES)):
        say(line)
    return 0


def plan(options: argparse.Namespace, rest: list[str]) -> int:
    """Print what a run would do."""
    machines = _machines_of(options)
    job = _described(options, rest, DEFAULT_BATCH_SIZE)
    with quick_imports():
        from pipeline.launch import runner
        from pipeline.launch.beam_options import parse_beam_options

    from pipeline.cli.cost import cost_lines, size_line, table_note
    from pipeline.cli.summary import foreseen_lines
    from pipeline.runs.accounting import check_plan

    foreseen = runner.plan(job, parse_beam_options(rest))
    for line in (*foreseen_lines(foreseen), size_line(foreseen)):
        say(line)
    if options.cost and not foreseen.to_embed:
        say("no image has to be embedded, so there is no table of costs")
    elif options.cost:
        from pipeline.cli.doctor import work_of

        operations, rate = work_of(
            job.bundle,
            job.options.engine,
            job.options.trust,
            job.options.custom_objects,
            options.rate == 0,
        )
        if rate := rate or options.rate:
            machines = [*machines, Machine("this rate", None, {}, rate=rate, measured=True)]
        within = options.within or 8.0
        for line in cost_lines(foreseen, machines, operations, job.spec.precision, within):
            say(line)
        say(table_note(options.machines))
    try:
        check_plan(job, foreseen.counts, foreseen.notes)
    except JobError as error:
        raise JobError(f"a run would be refused: {error}") from error
    return 0


def _machines_of(options: argparse.Namespace) -> list[Machine]:
    given = {
        "--machines": options.machines,
        "--rate": options.rate is not None,
        "--within": options.within,
    }
    for option, value in given.items():
        if value and not options.cost:
            raise InputError(f"{option} is for --cost; add --cost")
    return read_machines(options.machines) if options.cost else []


def status(options: argparse.Namespace, rest: list[str]) -> int:
    """Print what a dataset holds."""
    from encoder.printable import json_text
    from pipeline.upkeep.openmetrics import open_metrics
    from pipeline.upkeep.status import print_status, read_status, status_json

    _no_more(rest, "status")
    if options.json and options.openmetrics:
        raise InputError("--json and --openmetrics do not go together; give one of them")
    found = read_status(options.output)
    if options.openmetrics == "-":
        say_data(open_metrics(found))
    elif options.openmetrics:
        _write_text(options.openmetrics, open_metrics(found), "--openmetrics")
    elif options.json:
        say_data([json_text(status_json(found), indent=2)])
    else:
        print_status(found)
    return 0


def changes(options: argparse.Namespace, rest: list[str]) -> int:
    """List what runs changed."""
    import io

    from encoder.storage.registry import normalize, store_for
    from pipeline.dataset.changes import changes_since, json_lines, write_parquet

    _no_more(rest, "changes")
    found = changes_since(output_folder(options.output), options.since, options.encoder)
    if not options.to:
        say_data(json_lines(found))
        return 0
    if not options.to.endswith((".parquet", ".jsonl")):
        raise InputError(f"--to {options.to!r}: expected a name that ends in .parquet or .jsonl")
    data = io.BytesIO()
    if options.to.endswith(".parquet"):
        write_parquet(found, data)
    else:
        data.writelines(f"{line}\n".encode() for line in json_lines(found))
    path = normalize(options.to)
    store_for(path).write(path, data.getvalue())
    return 0


def verify(options: argparse.Namespace, rest: list[str]) -> int:
    """Check a dataset, and bring it back with --repair."""
    from pipeline.upkeep.repair import repair
    from pipeline.upkeep.verify import verify as check

    _no_more(rest, "verify")
    if options.dry_run and not options.repair:
        raise InputError("--dry-run goes with --repair; verify alone changes nothing")
    mending = options.repair and not options.dry_run
    findings = repair(options.output) if mending else check(options.output)
    for finding in findings:
        say(str(finding))
    wrong = sum(not finding.note for finding in findings)
    if not wrong:
        say(f"{options.output} is whole")
        return 0
    if mending:
        say(f"{count_text(wrong, 'finding')}, all repaired; a run embeds what is missing now")
        return 0
    say(f"{count_text(wrong, 'finding')}; --repair does what is said above")
    return 1


def compact(options: argparse.Namespace, rest: list[str]) -> int:
    """Merge small parts into larger ones."""
    from pipeline.upkeep.compact import compact as merge

    _no_more(rest, "compact")
    merges = merge(options.output, options.target_size, options.dry_run)
    for each in merges:
        size = size_text(sum(part.bytes for group in each.groups for part in group))
        say(
            f"{each.kind} of encoder {each.encoder_id}: {each.merged:,} of {each.parts:,} parts "
            f"({size}) {'would be ' if options.dry_run else ''}merged into {len(each.groups):,}"
        )
    if not merges:
        size = size_text(options.target_size)
        say(f"nothing to do: no two parts fit together into {size}")
    return 0


def prune(options: argparse.Namespace, rest: list[str]) -> int:
    """Remove an encoder, rows below a folder, or the records and logs of old runs."""
    from pipeline.upkeep.prune import prune_encoder, prune_runs
    from pipeline.upkeep.prune_uris import prune_uris

    _no_more(rest, "prune")
    if options.encoder is not None:
        check_id(options.encoder, "--encoder is")
    if options.uri_prefix is not None:
        found = prune_uris(options.output, options.uri_prefix, options.dry_run)
        if not found.parts:
            say(f"nothing to do: no row is below {options.uri_prefix}")
            return 0
        say(
            f"{'would remove' if options.dry_run else 'removed'} "
            f"{count_text(found.embeddings, 'embedding')} and "
            f"{count_text(found.failures, 'failure')} below {options.uri_prefix}"
        )
        return 0
    if options.encoder is not None:
        pruned = prune_encoder(options.output, options.encoder, options.dry_run)
        what = f"encoder {options.encoder} with {count_text(pruned.rows, 'row')}"
    else:
        pruned = prune_runs(options.output, options.runs_older_than, options.dry_run)
        what = count_text(len(pruned.runs), "run")
        if not pruned.files:
            say("nothing to do: no run is that old")
            return 0
    say(
        f"{'would remove' if options.dry_run else 'removed'} {what}: "
        f"{count_text(len(pruned.files), 'file')}, {size_text(pruned.bytes)}"
    )
    return 0


def doctor(options: argparse.Namespace, rest: list[str]) -> int:
    """Print the devices of this machine and their speed."""
    from pipeline.cli.doctor import examine

    _no_more(rest, "doctor")
    code = 0
    found = examine(options.encoder, options.engine, options.trust, options.custom_objects)
    for what, finding in found:
        say(f"{what:<12} {finding}", at_once=True)
        code = code or what == "problem"
    return int(code)


def _write_text(file: str, lines: list[str], option: str) -> None:
    """Write lines to a file, local or in a bucket, which appears whole or not at all."""
    from encoder.storage.registry import normalize, store_for

    path = normalize(file)
    if store_for(path).is_folder(path):
        raise InputError(f"{option} {file!r} is a folder; expected the path of a file in it")
    store_for(path).write(path, "".join(f"{line}\n" for line in lines).encode())


def _described(options: argparse.Namespace, rest: list[str], batch_size: int) -> Job:
    """The job, described before Beam is loaded if possible, so that errors come at once."""
    if any(is_other_store(path) for path in (*options.input, options.encoder)):
        with quick_imports():
            from pipeline.launch.beam_options import parse_beam_options

        parse_beam_options(rest)  # these options decide how the stores are accessed
    return job_of(options, batch_size)


def _no_more(rest: list[str], command: str) -> None:
    if rest:
        raise InputError(f"unknown option {rest[0]!r}; see 'python -m pipeline {command} --help'")
