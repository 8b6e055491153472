"""What all commands share that change a dataset: who was first, and what is removed at the end.

Each works like a run: new files first, then the manifest, replaced only if nobody else has done so
since it was read, and last the removal of what is not live any more.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor

from encoder.errors import ChangedError
from encoder.storage.base import FileInfo, is_temporary, join
from encoder.storage.registry import is_remote, store_for
from pipeline.dataset.layout import is_half_manifest, is_part, is_uris, run_of
from pipeline.dataset.manifest import Manifest, read_manifest, write_manifest
from pipeline.errors import JobError
from pipeline.records import CHANGES, EMBEDDINGS, FAILURES, LISTS

RUNS = "runs"
_DELETES_AT_ONCE = 16  # in a bucket
KINDS = (EMBEDDINGS, FAILURES, LISTS, CHANGES)  # of files that encoders have


def files_below(output: str, folder: str) -> list[FileInfo]:
    """Every file below a folder of the output; their paths are relative to the output."""
    full = join(output, folder)
    prefix = join(output, "")
    return [
        info._replace(path=info.path.removeprefix(prefix))
        for info in store_for(full).list_files(full)
    ]


def own_files(output: str) -> list[FileInfo]:
    """Every file of the kinds that this project writes, besides the manifest, in order."""
    found = [info for folder in (*KINDS, RUNS) for info in files_below(output, folder)]
    return sorted(info for info in found if is_own(info.path))


def is_own(path: str) -> bool:
    """Whether a path, relative to the output, is one that this project writes."""
    if is_half_manifest(path):
        return True
    folder, _, rest = path.partition("/")
    if ".." in rest.split("/"):
        return False
    if folder == RUNS:
        return "/" not in rest and (rest.endswith(".json") or is_temporary(rest))
    return folder in KINDS and (is_part(path) or is_uris(path) or is_temporary(path))


def not_named(files: Iterable[FileInfo], manifest: Manifest) -> list[FileInfo]:
    """Those of a dataset's files that its manifest does not name: of what died, or goes on.

    The logs of changes belong to their runs.
    """
    named = manifest.live_files() | {f"{RUNS}/{run}.json" for run in manifest.runs}
    return [
        info
        for info in files
        if info.path not in named and not (is_log(info.path) and run_of(info.path) in manifest.runs)
    ]


def is_log(path: str) -> bool:
    """Whether a file is a log of what a run changed."""
    return path.startswith(f"{CHANGES}/") and is_part(path)


def still_there(output: str, paths: set[str]) -> set[str]:
    """Those of some files of encoders that have not been removed yet."""
    folders = {"/".join(path.split("/")[:2]) for path in paths}
    return {info.path for folder in folders for info in files_below(output, folder)} & paths


def remove(output: str, paths: Iterable[str]) -> None:
    """Remove files of the dataset, and the folders of runs that become empty by that."""
    # A manifest that was damaged by hand may say anything.
    own = [path for path in paths if is_own(path)]
    full = [join(output, path) for path in own]
    if is_remote(output):
        with ThreadPoolExecutor(_DELETES_AT_ONCE, thread_name_prefix="delete") as pool:
            list(pool.map(store_for(output).delete, full))
        return
    for path, place in zip(own, full, strict=True):
        store_for(place).delete(place)
        remove_empty_folder(output, path.rpartition("/")[0])


def make_live(
    output: str,
    command: str,
    manifest: Manifest,
    expected: str | None,
    removed: set[str],
    written: Iterable[str] = (),
) -> None:
    """Replace the manifest, then remove what it has made useless.

    Args:
        output: of the dataset.
        command: that does this.
        manifest: the new one; what it was still to remove is kept in mind.
        expected: the version of the manifest that it was made from.
        removed: files that are not needed any more; relative to the output.
        written: the parts that this command has written.

    Raises:
        JobError: a run or another command was faster. Nothing is changed then.
    """
    pending = still_there(output, set(manifest.removed))
    to_remove = sorted((removed | pending) - manifest.live_files())
    new = dataclasses.replace(manifest, removed=tuple(to_remove), upkeep=command)
    try:
        write_manifest(output, new, expected)
    except ChangedError:
        remove(output, written)
        winner = read_manifest(output)[0]
        outcome = f"{command} worked, so nothing was changed, and nothing is lost. Start it again"
        raise lost_race(winner, outcome) from None
    remove(output, to_remove)


def lost_race(manifest: Manifest, outcome: str) -> JobError:
    """What to say when somebody else has replaced the manifest meanwhile."""
    run = next(reversed(manifest.runs), "unknown")
    winner = f"another command ({manifest.upkeep})" if manifest.upkeep else f"another run ({run})"
    return JobError(f"{winner} committed to this output while {outcome}")


def remove_empty_folder(output: str, folder: str) -> None:
    """Remove a folder of the dataset, relative to it, if nothing lies in it any more."""
    if not is_remote(output):
        try:
            os.rmdir(join(output, folder))
        except OSError:
            return  # not empty, or gone already
