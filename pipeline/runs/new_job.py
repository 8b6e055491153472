"""Make a job, and check everything that can be wrong with it before Beam is imported."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import pyarrow as pa

from encoder.errors import InputError
from encoder.spec import EncoderSpec, check_seal, read_spec
from encoder.storage.base import settings
from encoder.storage.registry import check_reachable, is_remote, normalize
from encoder.storage.replacing import check_commits
from pipeline.dataset.layout import output_folder
from pipeline.dataset.manifest import EncoderState, is_lost, no_manifest, read_manifest
from pipeline.errors import JobError
from pipeline.inputs.carried_columns import (
    carried_columns,
    check_lists,
    columns_before,
    dataset_columns,
)
from pipeline.inputs.roots import parse_root
from pipeline.inputs.source import parse_input
from pipeline.options import JobOptions
from pipeline.records import EMBEDDINGS
from pipeline.runs.job import Job, new_identity


def new_job(
    inputs: Sequence[str],
    encoder: str,
    output: str,
    run_id: str | None = None,
    keep: Sequence[str] = (),
    options: JobOptions | None = None,
) -> Job:
    """Make the job of a run that starts now.

    Args:
        inputs, encoder, output, run_id: as on the command line.
        keep: columns of manifests to carry over.
        options: the options of the run; None for the defaults.

    Raises:
        InputError: an option is wrong; the message names it.
        JobError: the output is damaged.
    """
    options = options or JobOptions()
    roots = tuple(map(parse_root, options.allow_root))
    options = dataclasses.replace(options, allow_root=roots)
    identity = new_identity()
    place = output_folder(output)
    _check_reachable("--output", place)
    _check_commits(place)
    manifest, version = read_manifest(place)
    if version is None and is_lost(place):
        raise JobError(no_manifest(place))
    spec = _read_spec(encoder)
    state = manifest.encoders.get(spec.id, EncoderState(spec))
    sources = tuple(
        parse_input(text, place, options.include, options.exclude) for text in dict.fromkeys(inputs)
    )
    for source in sources:
        _check_reachable(f"--input {source.text}", source.base)
    check_lists(sources, options)
    before = columns_before(place, spec)
    carried = carried_columns(sources, keep, options, before)
    extra_columns = dataset_columns(spec, before, carried, options.allow_truncated)
    return Job(
        inputs=sources,
        bundle=normalize(encoder),
        spec=spec,
        output=place,
        run_id=run_id or identity.run_id,
        started=identity.started,
        options=options,
        carried=pa.schema([extra_columns.field(name) for name in carried.names]),
        extra_columns=extra_columns,
        storage=settings(),
        rows_before=sum(part.rows for part in state.of_kind(EMBEDDINGS)),
    )


def _check_reachable(option: str, path: str) -> None:
    try:
        check_reachable(path)
    except OSError as error:
        raise InputError(f"{option}: {error}") from error


def _check_commits(output: str) -> None:
    if is_remote(output):
        return  # they are safe in all stores that a dataset may be in
    try:
        check_commits(output)
    except InputError as error:
        raise InputError(f"--output {error}") from error


def _read_spec(encoder: str) -> EncoderSpec:
    try:
        check_reachable(normalize(encoder))
        spec = read_spec(encoder)
        check_seal(encoder)  # a run that embeds nothing does not load the encoder
        return spec
    except (InputError, OSError) as error:
        raise InputError(f"--encoder: {error}") from error
