"""All commands and options of ``python -m pipeline``."""

from __future__ import annotations

import argparse

from encoder import __version__
from encoder.images.limits import Limits
from encoder.spec import ENGINES
from encoder.storage.base import StorageSettings
from encoder.terminal import Parser
from pipeline.cli import commands
from pipeline.options import (
    DEFAULT_BATCH_SIZE,
    DEFAULT_DECODE_TIMEOUT,
    DEFAULT_MAX_BYTES,
    DEFAULT_MAX_FAILURE_RATIO,
    DEFAULT_READ_TIMEOUT,
    DEFAULT_READS,
    DEFAULT_TARGET_SIZE,
    DEFAULT_URI_COLUMN,
    GPU_BATCH_SIZE,
    QUOTINGS,
    parse_age,
    parse_column_type,
    parse_delimiter,
    parse_hours,
    parse_rate,
    parse_share,
    parse_size,
    size_text,
)


def build_parser() -> Parser:
    """All commands and options of ``python -m pipeline``, besides Beam's own options."""
    parser = Parser(
        prog="python -m pipeline",
        description="Embed an image collection with an encoder bundle, and keep it up to date.",
        allow_abbrev=False,
    )
    parser.add_argument(
        "--version", action="version", version=f"image-collection-embeddings {__version__}"
    )
    added = parser.add_subparsers(required=True, metavar="COMMAND")
    run = added.add_parser(
        "run",
        help="embed what is new or changed",
        epilog="Any option of Apache Beam can be added, such as --runner or --region.",
        allow_abbrev=False,
    )
    _add_job_options(run)
    run.add_argument(
        "--gpu",
        default="",
        metavar="TYPE[:COUNT]",
        help="of each worker on Dataflow, such as nvidia-l4; this machine's GPUs are found",
    )
    run.add_argument(
        "--no-wait",
        action="store_true",
        help="on Dataflow: end when the job is submitted; status says how it goes",
    )
    run.add_argument(
        "--log-format",
        choices=("text", "json"),
        default="text",
        help="json: log messages and the error as one JSON object per line on stderr",
    )
    run.set_defaults(command=commands.run, check=commands.check_run)
    plan = added.add_parser("plan", help="say what a run would do", allow_abbrev=False)
    _add_job_options(plan)
    plan.add_argument(
        "--cost",
        action="store_true",
        help="say also how many hours and machines a run takes, and roughly what it costs",
    )
    plan.add_argument(
        "--machines",
        default="",
        metavar="FILE",
        help="with --cost: JSON with your kinds of machines, their prices and rates",
    )
    plan.add_argument(
        "--rate",
        type=parse_rate,
        metavar="N|measure",
        help="with --cost: images a second of one worker of yours; or measure this machine",
    )
    plan.add_argument(
        "--within",
        type=parse_hours,
        metavar="HOURS",
        help="with --cost: the time that a run may take; default 8",
    )
    plan.set_defaults(command=commands.plan, check=commands.check_plan)
    status = added.add_parser("status", help="say what a dataset holds", allow_abbrev=False)
    status.add_argument("--json", action="store_true", help="print JSON instead of tables")
    status.add_argument(
        "--openmetrics",
        nargs="?",
        const="-",
        metavar="FILE",
        help="print metrics for Prometheus instead, or write them to a file, such as a .prom file "
        "of node_exporter's textfile collector",
    )
    status.set_defaults(command=commands.status)
    changes = added.add_parser("changes", help="list what runs changed", allow_abbrev=False)
    changes.add_argument(
        "--since", default="", metavar="RUN", help="the last run that is not of interest"
    )
    changes.add_argument("--encoder", metavar="ID", help="where the dataset has several")
    changes.add_argument(
        "--to", metavar="FILE", help="a .parquet or .jsonl file; default: JSON Lines on the screen"
    )
    changes.set_defaults(command=commands.changes)
    verify = added.add_parser("verify", help="check everything in a dataset", allow_abbrev=False)
    verify.add_argument(
        "--repair", action="store_true", help="take out what is wrong, rebuild a lost manifest"
    )
    verify.set_defaults(command=commands.verify)
    default_size = size_text(DEFAULT_TARGET_SIZE)
    compact = added.add_parser("compact", help="merge small parts", allow_abbrev=False)
    compact.add_argument(
        "--target-size",
        type=parse_size,
        default=DEFAULT_TARGET_SIZE,
        metavar="SIZE",
        help=f"of merged parts, held in memory one by one; default {default_size}",
    )
    compact.set_defaults(command=commands.compact)
    prune = added.add_parser("prune", help="remove what is not needed", allow_abbrev=False)
    what = prune.add_mutually_exclusive_group(required=True)
    what.add_argument("--encoder", metavar="ID", help="remove all that this encoder has")
    what.add_argument(
        "--uri-prefix",
        metavar="FOLDER",
        help="remove the rows of all images below a folder or archive, which may be gone; with a "
        "star at its end, of all uris that begin so",
    )
    what.add_argument(
        "--runs-older-than",
        type=parse_age,
        metavar="AGE",
        help="forget runs that began longer ago, such as 30d, and what dead ones left; rows stay",
    )
    prune.set_defaults(command=commands.prune)
    doctor = added.add_parser(
        "doctor", help="say what this machine computes with, and how fast", allow_abbrev=False
    )
    doctor.add_argument("--encoder", default="", metavar="DIR", help="bundle to time")
    _add_code_options(doctor)
    doctor.set_defaults(command=commands.doctor)
    for command in (verify, compact, prune):
        command.add_argument(
            "--dry-run", action="store_true", help="say what would be done, and change nothing"
        )
    for command in (status, changes, verify, compact, prune):
        command.add_argument("output", metavar="OUTPUT", help="the --output of the runs")
    for command in added.choices.values():
        command.add_argument(
            "--user-project",
            default="",
            metavar="PROJECT",
            help="that pays for requests to buckets whose requester pays",
        )
        command.add_argument(
            "--request-deadline",
            type=float,
            default=StorageSettings().deadline,
            metavar="SECONDS",
            help="after which a request to a bucket that keeps failing is given up; default 300",
        )
        command.add_argument(
            "--verbose", action="store_true", help="show what goes on, and tracebacks"
        )
    return parser


def _add_job_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--input",
        action="append",
        required=True,
        metavar="GLOB_OR_FILE",
        help="a folder, a glob, an image, an archive or a list of images, local, gs:// or s3://; "
        "may be given several times",
    )
    parser.add_argument(
        "--include",
        action="append",
        default=[],
        metavar="GLOB",
        help="files that folder searches take, too, whatever their extension, such as '*.ppm'",
    )
    parser.add_argument(
        "--exclude",
        action="append",
        default=[],
        metavar="GLOB",
        help="files and folders that folder searches and globs leave out, such as '*_thumb*'",
    )
    parser.add_argument(
        "--allow-root",
        action="append",
        default=[],
        metavar="DIR_OR_PREFIX",
        help="a folder, or an address such as gs://BUCKET/FOLDER: lists and symbolic links may "
        "reach only such; by default links reach everything, and so do lists, but for local files "
        "in lists in buckets",
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
        "--column-type",
        action="append",
        default=[],
        type=parse_column_type,
        metavar="NAME=TYPE",
        help="the type of a carried column: string, int64, uint64, float64, bool, date, timestamp; "
        "may be given several times",
    )
    parser.add_argument(
        "--list-delimiter",
        type=parse_delimiter,
        metavar="CHAR",
        help="of CSV: a character, or tab, comma, semicolon, pipe, space; by default recognised",
    )
    parser.add_argument(
        "--list-quoting",
        choices=QUOTINGS,
        default="auto",
        help="of CSV: whether quotes enclose values (standard) or are part of them (none); default "
        "auto",
    )
    parser.add_argument(
        "--list-encoding",
        metavar="NAME",
        help="of lists in text without a byte order mark, such as latin-1; by default recognised",
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
        "--batch-size",
        type=int,
        metavar="N",
        help="images that the encoder computes in one call, on a CPU 8 at most; default "
        f"{DEFAULT_BATCH_SIZE}, with GPUs {GPU_BATCH_SIZE}",
    )
    parser.add_argument(
        "--reads-in-flight",
        type=int,
        default=DEFAULT_READS,
        metavar="N",
        help=f"images that a worker reads at the same time; default {DEFAULT_READS}",
    )
    parser.add_argument(
        "--read-timeout",
        type=float,
        default=DEFAULT_READ_TIMEOUT,
        metavar="SECONDS",
        help="an image that takes longer to read is a failure, and tried again in the next run; "
        f"default {DEFAULT_READ_TIMEOUT:g}",
    )
    parser.add_argument(
        "--decode-timeout",
        type=float,
        default=DEFAULT_DECODE_TIMEOUT,
        metavar="SECONDS",
        help="an image that takes more processor time to decode is a failure; default "
        f"{DEFAULT_DECODE_TIMEOUT:g}",
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
        "--check-content",
        type=parse_share,
        default=0.0,
        metavar="all|SHARE",
        help="read unchanged images, all or a share such as 5%%, and embed those again whose "
        "content is another although size and time are the same",
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
    _add_code_options(parser)


def _add_code_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that say what computes, and that allow code of a bundle to run."""
    parser.add_argument(
        "--engine",
        choices=ENGINES,
        default="auto",
        help="what computes the vectors: keras (TensorFlow or JAX); ncnn, for bundles with a "
        "compiled form, on CPUs; by default the faster one",
    )
    parser.add_argument(
        "--trust", action="store_true", help="allow a bundle with Lambda layers or custom classes"
    )
    parser.add_argument(
        "--custom-objects",
        action="append",
        default=[],
        metavar="MODULE",
        help="defines custom classes and functions of the bundle; may be repeated",
    )
