"""The command line: ``python -m pipeline run | plan | status``."""

from __future__ import annotations

import argparse
import logging
import sys
import warnings
from collections.abc import Sequence

from encoder.errors import InputError
from encoder.images import Limits
from encoder.terminal import report
from pipeline.errors import JobError
from pipeline.job import (
    DEFAULT_BATCH_SIZE,
    DEFAULT_MAX_BYTES,
    DEFAULT_MAX_FAILURE_RATIO,
    Job,
    new_job,
)
from pipeline.lists import DEFAULT_URI_COLUMN


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; gives the exit code (0 done, 1 the job failed, 2 wrong command line)."""
    parser = build_parser()
    options, rest = parser.parse_known_args(arguments)
    if options.verbose:
        logging.basicConfig(level=logging.INFO)
    else:
        logging.disable(logging.CRITICAL)
        warnings.simplefilter("ignore")
    try:
        return int(options.command(options, rest))
    except (Exception, KeyboardInterrupt) as error:
        return report(error, (InputError, JobError, OSError), options.verbose)


def build_parser() -> argparse.ArgumentParser:
    """All commands and options of ``python -m pipeline``, besides Beam's own options."""
    parser = argparse.ArgumentParser(
        prog="python -m pipeline",
        description="Embed an image collection with an encoder bundle, and keep it up to date.",
        allow_abbrev=False,
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    run = commands.add_parser(
        "run",
        help="embed what is new or changed",
        epilog="Any option of Apache Beam can be added, such as --runner or --region.",
        allow_abbrev=False,
    )
    _add_job_options(run)
    run.set_defaults(command=_run)
    plan = commands.add_parser("plan", help="say what a run would do", allow_abbrev=False)
    _add_job_options(plan)
    plan.set_defaults(command=_plan)
    status = commands.add_parser("status", help="say what a dataset holds", allow_abbrev=False)
    status.add_argument("output", metavar="OUTPUT", help="the --output of the runs")
    status.set_defaults(command=_status)
    for command in (run, plan, status):
        command.add_argument("--verbose", action="store_true", help="show logs and tracebacks")
    return parser


def _add_job_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--input",
        action="append",
        required=True,
        metavar="GLOB_OR_FILE",
        help="a folder, a glob, an image, an archive or a list of images, local or gs://; may be "
        "given several times",
    )
    parser.add_argument(
        "--uri-column", default=DEFAULT_URI_COLUMN, metavar="NAME", help="of manifests; default uri"
    )
    parser.add_argument(
        "--keep",
        action="append",
        default=[],
        metavar="COL,COL",
        help="columns of manifests to carry into the dataset",
    )
    parser.add_argument(
        *("--image-feature", "--image-column"),
        default="",
        metavar="NAME",
        help="of TFRecord and Parquet files: what holds the image; by default it is found",
    )
    parser.add_argument(
        *("--id-feature", "--id-column"),
        default="",
        metavar="NAME",
        help="of TFRecord and Parquet files: what names the image; default: the record's number",
    )
    parser.add_argument("--encoder", required=True, metavar="DIR", help="encoder bundle")
    parser.add_argument("--output", required=True, metavar="DIR", help="folder of the dataset")
    parser.add_argument("--run-id", metavar="ID", help="names the run; default: time and chance")
    parser.add_argument(
        "--batch-size", type=int, default=DEFAULT_BATCH_SIZE, help="images per call of the encoder"
    )
    parser.add_argument(
        "--max-failure-ratio",
        type=float,
        default=DEFAULT_MAX_FAILURE_RATIO,
        help="share of the listed images that may fail before the job does",
    )
    parser.add_argument(
        "--allow-empty", action="store_true", help="an input without images is right"
    )
    parser.add_argument(
        "--allow-deletes",
        action="store_true",
        help="more than half of the known images may be gone",
    )
    parser.add_argument(
        "--retry-failures", action="store_true", help="try again what could not be decoded"
    )
    parser.add_argument(
        "--max-pixels",
        type=int,
        default=Limits.max_pixels,
        help="of one image; a larger one is a failure. Default 200,000,000",
    )
    parser.add_argument(
        "--max-bytes",
        type=int,
        default=DEFAULT_MAX_BYTES,
        help="of one image file; a larger one is a failure. Default 512 MiB",
    )
    parser.add_argument(
        "--allow-truncated",
        action="store_true",
        help="embed what can be seen of damaged images, too; a column 'truncated' says so",
    )
    parser.add_argument(
        "--trust", action="store_true", help="allow a bundle with Lambda layers or custom classes"
    )


def _job(options: argparse.Namespace) -> Job:
    return new_job(
        options.input,
        options.encoder,
        options.output,
        options.run_id,
        keep=[name for names in options.keep for name in names.split(",") if name],
        uri_column=options.uri_column,
        image_field=options.image_feature,
        id_field=options.id_feature,
        max_pixels=options.max_pixels,
        max_bytes=options.max_bytes,
        allow_truncated=options.allow_truncated,
        batch_size=options.batch_size,
        max_failure_ratio=options.max_failure_ratio,
        allow_empty=options.allow_empty,
        allow_deletes=options.allow_deletes,
        retry_failures=options.retry_failures,
        trust=options.trust,
    )


def _run(options: argparse.Namespace, rest: list[str]) -> int:
    from dataclasses import replace

    from pipeline import launch
    from pipeline.dataset import read_manifest
    from pipeline.progress import live_progress
    from pipeline.records import FAILURES
    from pipeline.summary import summarize

    beam_options = launch.parse_beam_options(rest)
    job = _job(options)
    with live_progress(launch.is_in_process(beam_options)) as tally_folder:
        record = launch.run(replace(job, tally_folder=tally_folder), beam_options)
    if record is None:
        print("dry run: the job was built, and not started")
        return 0
    state = read_manifest(job.output)[0].encoders[job.spec.id]
    print(summarize(record, job.output, state.of_kind(FAILURES)))
    return 0


def _plan(options: argparse.Namespace, rest: list[str]) -> int:
    from pipeline import launch

    counts = launch.plan(_job(options), launch.parse_beam_options(rest))
    for name, count in counts.items():
        print(f"{name:<10} {count:,}")
    return 0


def _status(options: argparse.Namespace, rest: list[str]) -> int:
    from encoder.storage import normalize
    from pipeline.dataset import read_manifest, read_record
    from pipeline.records import EMBEDDINGS, FAILURES

    if rest:
        raise InputError(f"unknown option {rest[0]!r}; see 'python -m pipeline status --help'")
    output = normalize(options.output)
    manifest, version = read_manifest(output)
    if version is None:
        raise InputError(f"{options.output!r} is not a dataset: it has no manifest.json")
    for name, state in manifest.encoders.items():
        rows, failures = (
            sum(part.rows for part in state.of_kind(kind)) for kind in (EMBEDDINGS, FAILURES)
        )
        print(f"encoder {name}: {rows:,} embeddings of {state.spec.dim}, {failures:,} failures")
    for run_id in manifest.runs:
        record = read_record(output, run_id)
        names = ("listed", "embedded", "unchanged", "resumed", "deleted", "failed")
        counts = ", ".join(f"{record[key]:,} {key}" for key in names if record[key])
        print(f"run {run_id} {record['started']}: {counts}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
