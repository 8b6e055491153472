"""List the files of a dataset, replace its manifest, remove files that are no longer live.

Commands that change a dataset work like a run: they write new files first, then the manifest, which
is replaced only if nobody else has replaced it since it was read, and then remove the files that
are no longer live.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import get_args

from encoder.errors import ChangedError, ClaimedError
from encoder.storage.base import FileInfo
from encoder.storage.registry import is_remote, store_for
from pipeline.dataset.layout import (
    RUNS,
    STAGING,
    SUBMITTED,
    encoder_folder,
    final,
    full_folder,
    full_path,
    is_failed_record,
    is_part,
    is_staged,
    own_file,
    relative_path,
    run_of,
    staged,
)
from pipeline.dataset.manifest import Manifest, read_manifest, write_manifest
from pipeline.errors import JobError, PathError
from pipeline.records import CHANGES, Kind

KINDS: tuple[Kind, ...] = get_args(Kind)
_AT_ONCE = 16  # requests to a bucket at the same time


def files_below(output: str, folder: str) -> list[FileInfo]:
    """The files of this project below a folder of the output, with paths relative to the output."""
    full = full_folder(output, folder)
    found = (
        info._replace(path=relative_path(output, info.path))
        for info in store_for(full).list_files(full)
    )
    return [info for info in found if own_file(info.path) is not None]


def own_files(output: str) -> list[FileInfo]:
    """All files of runs and upkeep, besides the manifest, in order of their paths."""
    return sorted(
        info for folder in (*KINDS, RUNS, STAGING) for info in files_below(output, folder)
    )


def links_in(output: str) -> list[str]:
    """The symbolic links among the dataset's files and folders, relative to the output."""
    if is_remote(output):
        return []
    return sorted(
        relative_path(output, os.path.join(base, name))
        for top in (*KINDS, RUNS, STAGING, SUBMITTED)
        for base, folders, names in os.walk(full_folder(output, top))
        for name in (*folders, *names)
        if os.path.islink(os.path.join(base, name))
    )


def remove_links(output: str, links: Iterable[str]) -> None:
    """Remove symbolic links that links_in found; what they lead to stays as it is."""
    for link in links:
        place = os.path.join(output, link)
        if os.path.islink(place):
            os.unlink(place)
    remove_empty_folders(output, links)


def not_named(files: Iterable[FileInfo], manifest: Manifest) -> list[FileInfo]:
    """The files of a dataset that its manifest does not name, from killed or unfinished runs.

    The logs of changes of committed runs count as named, and so do records of failed runs.
    """
    named = manifest.named_files()
    return [
        info
        for info in files
        if info.path not in named
        and not is_failed_record(info.path)
        and not (is_log(info.path) and run_of(info.path) in manifest.runs)
    ]


def is_log(path: str) -> bool:
    """Whether a file is part of a run's log of changes."""
    return path.startswith(f"{CHANGES}/") and is_part(path)


def still_there(output: str, paths: set[str]) -> set[str]:
    """Those of the paths at which there is still a file."""
    folders, single = set(), set()
    for path in paths:
        found = own_file(path)
        if found is None:
            continue  # no file of this project
        if found.kind and found.encoder_id:
            folder = encoder_folder(found.kind, found.encoder_id)
            folders.add(staged(folder) if found.staged else folder)
        else:
            single.add(path)
    there = {info.path for folder in folders for info in files_below(output, folder)}
    there |= {path for path in single if _exists(output, path)}
    return there & paths


def _exists(output: str, path: str) -> bool:
    full = full_path(output, path)
    return store_for(full).stat(full) is not None


def remove(output: str, paths: Iterable[str]) -> None:
    """Remove files of the dataset, and the folders of runs that become empty.

    Args:
        output: the dataset's folder.
        paths: relative to the output.

    Raises:
        PathError: one is no path of this project; nothing was removed then.
    """
    paths = list(paths)
    full = [full_path(output, path, of_link=True) for path in paths]
    if is_remote(output):
        with ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="delete") as pool:
            list(pool.map(store_for(output).delete, full))
        return
    for place in full:
        store_for(place).delete(place)
    remove_empty_folders(output, paths)


def publish(output: str, manifest: Manifest) -> None:
    """Move the live parts that still wait in the staging folder to their final paths.

    Call it after the manifest is written, which names them. A killed call loses nothing: until they
    have moved, read_manifest gives the paths at which the parts wait.
    """
    waiting = sorted(path for path in manifest.live_files() if is_staged(path))
    store = store_for(output)

    def move(path: str) -> None:
        store.move(full_path(output, path), full_path(output, final(path)))

    if is_remote(output):
        with ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="publish") as pool:
            list(pool.map(move, waiting))
        return
    for path in waiting:
        move(path)
    remove_empty_folders(output, waiting)


def make_live(
    output: str,
    command: str,
    manifest: Manifest,
    expected: str | None,
    removed: set[str],
    written: Iterable[str] = (),
) -> None:
    """Replace the manifest, then remove the files that this makes useless.

    Args:
        output: the dataset's folder.
        command: the command that changes the dataset.
        manifest: the new one. Files in its ``removed`` that still exist are removed as well.
        expected: the version of the manifest that the new one was made from.
        removed: files that are no longer needed; relative to the output.
        written: the parts that this command has written.

    Raises:
        JobError: a run or another command has committed first. Nothing is changed then.
    """
    pending = still_there(output, set(manifest.removed))
    # A part in a bucket is at both of its paths if its move was killed.
    gone = removed | {final(path) for path in removed}
    to_remove = manifest.removable(gone | pending)
    new = dataclasses.replace(manifest, removed=to_remove, upkeep=command)
    try:
        write_manifest(output, new, expected)
    except ChangedError as error:
        remove(output, written)
        winner = read_manifest(output)[0]
        outcome = f"{command} worked, so nothing was changed, and nothing is lost. Start it again"
        raise lost_race(winner, outcome, error) from None
    publish(output, new)
    remove(output, to_remove)


def lost_race(manifest: Manifest, outcome: str, error: ChangedError | None = None) -> JobError:
    """The error if another run or command has replaced the manifest meanwhile.

    Args:
        manifest: the manifest that the other one wrote.
        outcome: the rest of the message: which command worked, and what follows.
        error: of writing the manifest, if that was tried.
    """
    if isinstance(error, ClaimedError):  # the other machine's manifest may not be visible yet
        return JobError(f"another run or command committed to this output while {outcome}. {error}")
    run = next(reversed(manifest.runs), "unknown")
    winner = f"another command ({manifest.upkeep})" if manifest.upkeep else f"another run ({run})"
    return JobError(f"{winner} committed to this output while {outcome}")


def remove_empty_folders(output: str, paths: Iterable[str]) -> None:
    """Remove the folders that held these files, relative to the output, where they are empty."""
    if is_remote(output):
        return
    folders = {path.rpartition("/")[0] for path in paths}
    for folder in sorted(folders):
        # The folders of a dataset stay, those of its runs and of what waits for a commit go.
        while "/" in folder or folder == STAGING:
            try:
                os.rmdir(full_folder(output, folder))
            except (OSError, PathError):
                break  # not empty, gone already, or no folder of a dataset
            folder = folder.rpartition("/")[0]
