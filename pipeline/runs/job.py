"""One run of the job: its options, and facts that are found before it starts."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import platform
import uuid
from datetime import datetime, timezone
from importlib import metadata
from typing import NamedTuple

import pyarrow as pa

from encoder import __version__
from encoder.errors import InputError
from encoder.spec import EncoderSpec
from encoder.storage.base import StorageSettings, settings
from pipeline.dataset.known_vectors import Buckets
from pipeline.dataset.layout import check_run_id
from pipeline.dataset.parts import PartWriter
from pipeline.dataset.schema import NO_COLUMNS
from pipeline.inputs.archives.base import Packing
from pipeline.inputs.roots import Roots
from pipeline.inputs.source import Input
from pipeline.options import DATAFLOW, JobOptions
from pipeline.runs.scope import CarriedColumns, ContentCheck

# The packages that decide about values and speed.
_PACKAGES = ("apache-beam", "keras", "tensorflow", "jax", "numpy", "pillow", "pyarrow")


def versions() -> dict[str, str]:
    """The versions of this package, of Python, and of the packages that a run depends on."""
    found = {"image-collection-embeddings": __version__, "python": platform.python_version()}
    for name in _PACKAGES:
        with contextlib.suppress(metadata.PackageNotFoundError):
            found[name] = metadata.version(name)
    return found


def job_id(runner: str) -> str:
    """The id of the job in which this process works, on Dataflow; elsewhere ""."""
    return os.environ.get("JOB_ID", "") if runner == DATAFLOW else ""


class RunIdentity(NamedTuple):
    """What makes one run differ from all others.

    Attributes:
        run_id: names the run, its folders and its record.
        started: wall-clock time, UTC, ISO 8601.
        token: distinguishes this launch from any other, even from one with the same run id.
    """

    run_id: str
    started: str
    token: str


def new_token() -> str:
    """A random value, different for each launch."""
    return uuid.uuid4().hex


def new_identity() -> RunIdentity:
    """The identity of a run that starts now: its id has the time (UTC) and random digits."""
    now = datetime.now(timezone.utc)
    run_id = f"{now:%Y%m%dT%H%M%SZ}-{uuid.uuid4().hex[:6]}"
    return RunIdentity(run_id, now.isoformat(timespec="milliseconds"), new_token())


@dataclasses.dataclass(frozen=True)
class Job:
    """One run: its options and facts. It is sent to the workers.

    Attributes:
        inputs: the places of the images.
        bundle: path of the encoder bundle, as the workers reach it.
        spec: the bundle's ``encoder.json``.
        output: the dataset's folder, absolute or gs://.
        run_id: names the run, its folders and its record.
        started: wall-clock time, UTC, ISO 8601.
        options: the options of the run.
        carried: the carried columns of the inputs, with their types in the dataset.
        extra_columns: all columns of the dataset besides the standard ones.
        storage: request settings for buckets.
        across_processes: load the encoder once for all processes of a machine.
        rows_before: number of rows that the output has when the job is made; sizes of tables
            follow from it, and nothing else.
        token: distinguishes this launch from any other, even from one with the same run id.
        tally_folder: where local workers count for the progress line; None for no counting.
        accelerator: GPUs of the workers that embed, as Beam's resource hint; "" for none.
        is_template: the job is not started but kept, and started any number of times later. Each
            execution is a run with an identity of its own.
        runner: the name of the Beam runner; "" before it is known.

    Raises:
        InputError: there is no input, or the run id can't be part of a path.
    """

    inputs: tuple[Input, ...]
    bundle: str
    spec: EncoderSpec
    output: str
    run_id: str
    started: str
    options: JobOptions = dataclasses.field(default_factory=JobOptions)
    carried: pa.Schema = NO_COLUMNS
    extra_columns: pa.Schema = NO_COLUMNS
    storage: StorageSettings = dataclasses.field(default_factory=settings)
    across_processes: bool = False
    rows_before: int = 0
    token: str = dataclasses.field(default_factory=new_token)
    tally_folder: str | None = None
    accelerator: str = ""
    is_template: bool = False
    runner: str = ""

    def __post_init__(self) -> None:
        check_run_id(self.run_id)
        if not self.inputs:
            raise InputError("no --input was given; name a folder, a glob or an image")

    @property
    def identity(self) -> RunIdentity | None:
        """The identity of the run; None if each execution makes its own."""
        return None if self.is_template else RunIdentity(self.run_id, self.started, self.token)

    def as_run(self, identity: RunIdentity) -> Job:
        """The job as the run with an identity."""
        return dataclasses.replace(self, is_template=False, **identity._asdict())

    @property
    def writer(self) -> PartWriter:
        """Writes this run's parts."""
        return PartWriter(self.output, self.run_id, self.spec, self.extra_columns)

    @property
    def packing(self) -> Packing:
        """How archives are read."""
        options = self.options
        return Packing(
            image_field=options.image_field,
            id_field=options.id_field,
            carried=self.carried,
            max_bytes=options.max_bytes,
            seconds=options.read_timeout,
            parsed=options.lists.parsed,
            roots=self.roots,
        )

    @property
    def buckets(self) -> Buckets:
        """How the contents of the output are spread over workers."""
        return Buckets(self.rows_before)

    @property
    def roots(self) -> Roots:
        """What lists and links may reach."""
        return Roots(self.options.allow_root, self.inputs)

    @property
    def check(self) -> ContentCheck:
        """Which unchanged images are read again; each run takes another sample."""
        return ContentCheck(self.options.check_content)

    @property
    def columns(self) -> CarriedColumns:
        """Names of the carried columns, of the inputs and of the dataset."""
        return CarriedColumns(tuple(self.carried.names), self.writer.carried_names)
