"""One run of the job: everything that its steps need to know. Travels to the workers."""

from __future__ import annotations

import dataclasses
import uuid
from collections.abc import Sequence
from datetime import datetime, timezone
from typing import Any

import pyarrow as pa

from encoder.errors import InputError
from encoder.images.limits import Limits
from encoder.spec import MODEL_FILE, EncoderSpec, read_spec
from encoder.storage.base import StorageSettings, configure, join, settings
from encoder.storage.registry import check_reachable, normalize, store_for
from pipeline.dataset.layout import check_run_id, output_folder
from pipeline.dataset.parts import PartWriter
from pipeline.dataset.schema import NO_COLUMNS
from pipeline.inputs.archives.base import Packing
from pipeline.inputs.carried_columns import carried_columns, check_lists, dataset_columns
from pipeline.inputs.source import Input, parse_input
from pipeline.options import (
    DEFAULT_BATCH_SIZE,
    DEFAULT_MAX_BYTES,
    DEFAULT_MAX_FAILURE_RATIO,
    DEFAULT_READS,
    DEFAULT_URI_COLUMN,
)
from pipeline.records import Carried

MAX_READS = 1024


def new_token() -> str:
    """A value that no other launch has."""
    return uuid.uuid4().hex


@dataclasses.dataclass(frozen=True)
class Job:
    """One run.

    Attributes:
        inputs: where the images are.
        bundle: path of the encoder bundle, as the workers reach it.
        spec: what that bundle says of itself.
        output: the dataset's folder, absolute or gs://.
        run_id: names the run, its folders and its record.
        started: wall-clock time, UTC, ISO 8601.
        batch_size: images per call of the encoder; see pipeline.embedding.call_sizes.
        reads: images that a worker reads at the same time.
        storage: how buckets are spoken to.
        max_failure_ratio: the share of listed images that may fail.
        allow_empty: a listing without images is meant so.
        allow_deletes: a listing without most of the known images is meant so.
        retry_failures: try again what could not be decoded.
        uri_column: of manifests.
        carried: columns of manifests that are carried over, with their types.
        extra_columns: all columns of the dataset besides those that every dataset has.
        image_field, id_field: of archives of records; see pipeline.inputs.archives.base.Packing.
        max_pixels, max_bytes: what is larger is a failure.
        allow_truncated: embed what can be seen of damaged images, too.
        trust: the bundle may bring layers with code of their own.
        across_processes: load the encoder once for all processes of a machine.
        token: tells this launch from any other, also from one with the same run id.
        tally_folder: where local workers count for the progress line; empty for none.
    """

    inputs: tuple[Input, ...]
    bundle: str
    spec: EncoderSpec
    output: str
    run_id: str
    started: str
    batch_size: int = DEFAULT_BATCH_SIZE
    reads: int = DEFAULT_READS
    storage: StorageSettings = dataclasses.field(default_factory=settings)
    max_failure_ratio: float = DEFAULT_MAX_FAILURE_RATIO
    allow_empty: bool = False
    allow_deletes: bool = False
    retry_failures: bool = False
    uri_column: str = DEFAULT_URI_COLUMN
    carried: pa.Schema = NO_COLUMNS
    extra_columns: pa.Schema = NO_COLUMNS
    image_field: str = ""
    id_field: str = ""
    max_pixels: int = Limits.max_pixels
    max_bytes: int = DEFAULT_MAX_BYTES
    allow_truncated: bool = False
    trust: bool = False
    across_processes: bool = False
    token: str = dataclasses.field(default_factory=new_token)
    tally_folder: str = ""

    def __post_init__(self) -> None:
        check_run_id(self.run_id)
        if not self.inputs:
            raise InputError("no --input was given; name a folder, a glob or an image")
        if not 0 <= self.max_failure_ratio <= 1:
            raise InputError(f"--max-failure-ratio is {self.max_failure_ratio:g}; expected 0 to 1")
        at_least_one = {
            "batch-size": self.batch_size,
            "reads-in-flight": self.reads,
            "max-pixels": self.max_pixels,
            "max-bytes": self.max_bytes,
        }
        for option, value in at_least_one.items():
            if value < 1:
                raise InputError(f"--{option} is {value}; expected at least 1")
        if self.reads > MAX_READS:
            raise InputError(f"--reads-in-flight is {self.reads}; expected at most {MAX_READS}")

    @property
    def writer(self) -> PartWriter:
        """Writes this run's parts."""
        return PartWriter(self.output, self.run_id, self.spec, self.extra_columns, self.storage)

    def merged(self, carried: Carried | None, before: Carried | None) -> Carried | None:
        """The values of all kept columns of the dataset, from those that a listing carries.

        Args:
            carried: of the listing, in the order of self.carried; None where it carries none.
            before: of the row that the output has; None where it has none.
        """
        if carried is None:
            return before
        names = self.writer.carried_names
        values = dict(zip(names, before or (None,) * len(names), strict=True))
        values.update(zip(self.carried.names, carried, strict=True))
        return tuple(values.values())

    @property
    def packing(self) -> Packing:
        """How to read archives."""
        return Packing(self.image_field, self.id_field, self.carried, self.max_bytes)

    @property
    def limits(self) -> Limits:
        """What decoding may cost."""
        return Limits(self.max_pixels, self.allow_truncated)


def new_job(
    inputs: list[str],
    encoder: str,
    output: str,
    run_id: str | None = None,
    keep: Sequence[str] = (),
    **options: Any,
) -> Job:
    """A job that starts now.

    Args:
        inputs, encoder, output, run_id: as on the command line.
        keep: columns of manifests to carry over.
        options: further attributes of Job.

    Raises:
        InputError: an option is wrong; the message names it.
    """
    configure(options.get("storage", settings()))
    now = datetime.now(timezone.utc)
    place = output_folder(output)
    _check_reachable("--output", place)
    spec = _read_spec(encoder)
    sources = tuple(parse_input(text, excluding=place) for text in dict.fromkeys(inputs))
    for source in sources:
        _check_reachable(f"--input {source.text}", source.base)
    uri_column = options.get("uri_column", DEFAULT_URI_COLUMN)
    image_field = options.get("image_field", "")
    check_lists(sources, uri_column, image_field)
    carried = carried_columns(sources, keep, uri_column, image_field)
    extra_columns = dataset_columns(place, spec, carried, bool(options.get("allow_truncated")))
    return Job(
        inputs=sources,
        bundle=normalize(encoder),
        spec=spec,
        output=place,
        carried=pa.schema([extra_columns.field(name) for name in carried.names]),
        extra_columns=extra_columns,
        run_id=run_id or f"{now:%Y%m%dT%H%M%SZ}-{uuid.uuid4().hex[:6]}",
        started=now.isoformat(timespec="milliseconds"),
        **options,
    )


def _check_reachable(option: str, path: str) -> None:
    try:
        check_reachable(path)
    except OSError as error:
        raise InputError(f"{option}: {error}") from error


def _read_spec(encoder: str) -> EncoderSpec:
    try:
        check_reachable(normalize(encoder))
        spec = read_spec(encoder)
        model = join(normalize(encoder), MODEL_FILE)
        if store_for(model).stat(model) is None:
            raise InputError(f"{encoder!r} is not a whole encoder bundle: it has no {MODEL_FILE}")
        return spec
    except (InputError, OSError) as error:
        raise InputError(f"--encoder: {error}") from error
