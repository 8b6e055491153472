"""Rebuild a manifest from the files of a dataset."""

from __future__ import annotations

from collections.abc import Sequence

from encoder.spec import EncoderSpec
from encoder.storage.base import FileInfo
from encoder.storage.registry import store_for
from pipeline.dataset.layout import RUNS, OwnFile, full_path, own_file
from pipeline.dataset.manifest import EncoderState, Manifest, read_record
from pipeline.dataset.named_uris import list_of
from pipeline.dataset.part_files import UNREADABLE, opened
from pipeline.records import EMBEDDINGS, FAILURES, LISTS, ListState, Part
from pipeline.upkeep.checks import spec_in, started

_TOKEN = "rebuilt"


def rebuild(output: str, files: Sequence[FileInfo]) -> Manifest:
    """A manifest that names all parts, and all runs that have a record.

    Some of the parts may not have been live: they had just been replaced, or an early version wrote
    them in a run that did not commit. Parts that wait in the staging folder are left out. So the
    caller has to remove duplicate rows before writing this manifest. Damaged parts
    are named with 0 rows, if another part of the same encoder is intact.

    Args:
        output: the dataset's folder.
        files: all files of the dataset, with paths relative to the output.
    """
    parts: dict[str, list[Part]] = {}
    specs: dict[str, EncoderSpec] = {}
    lists: dict[str, dict[str, tuple[str, str]]] = {}
    for info in files:
        found = own_file(info.path)
        if found is None or found.encoder_id is None or found.staged or found.half:
            continue
        encoder_id = found.encoder_id
        if found.kind in (EMBEDDINGS, FAILURES):
            rows, spec = _look(output, info.path)
            parts.setdefault(encoder_id, []).append(Part(found.kind, info.path, rows, info.bytes))
            if spec is not None and spec.id == encoder_id:
                specs[encoder_id] = spec
        elif found.kind == LISTS:
            state = list_of(output, info.path)
            if state is not None:
                known = lists.setdefault(encoder_id, {})
                latest = (_written(output, info), info.path)
                known[state.list_uri] = max(known.get(state.list_uri, ("", "")), latest)
    encoders = {
        name: EncoderState(
            spec,
            tuple(parts[name]),
            tuple(ListState(uri, path) for uri, (_, path) in lists.get(name, {}).items()),
        )
        for name, spec in specs.items()
    }
    return Manifest(_runs(output, files), encoders)


def _look(output: str, path: str) -> tuple[int, EncoderSpec | None]:
    """A part's number of rows and its encoder spec; 0 and None if it is damaged."""
    try:
        with opened(output, path) as file:
            return file.metadata.num_rows, spec_in(file.schema_arrow)
    except UNREADABLE:
        return 0, None


def _written(output: str, info: FileInfo) -> str:
    full = full_path(output, info.path)
    written = store_for(full).modified(full)
    return written.isoformat() if written else ""


def _runs(output: str, files: Sequence[FileInfo]) -> dict[str, str]:
    """The runs that have a valid record, oldest first."""
    runs = []
    for info in files:
        found, name = own_file(info.path), info.path.removeprefix(f"{RUNS}/")
        if found == OwnFile() and name != info.path:
            run = name.removesuffix(".json")
            try:
                if read_record(output, run)["run_id"] == run:
                    runs.append((started(output, run), run))
            except (OSError, ValueError):
                continue
    return {run: _TOKEN for _, run in sorted(runs)}
