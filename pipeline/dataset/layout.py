"""The paths of all files in a dataset."""

from __future__ import annotations

import os
import re
import uuid
from datetime import datetime, timezone
from typing import Final

from encoder.errors import InputError
from encoder.storage.base import is_temporary, join
from encoder.storage.registry import is_writable, normalize, read_only_error
from pipeline.records import LISTS, Kind

RUNS: Final = "runs"  # the folder of the run records
# Parts wait in this folder until their run has committed. Then they move to the same path in the
# output, so that who reads the folder of embeddings never sees rows of a run that did not commit.
STAGING: Final = "staging"
_PART_NAME = re.compile(r"part-[0-9a-f]+\.parquet")
_URIS_NAME = re.compile(r"uris-[0-9a-f]+\.parquet")
_RUN_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")


def encoder_folder(kind: Kind, encoder_id: str) -> str:
    """The folder of one encoder's files of one kind, relative to the output."""
    return f"{kind}/encoder={encoder_id}"


def part_path(kind: Kind, encoder_id: str, run_id: str, name: str) -> str:
    """A part's final path, relative to the output."""
    return f"{encoder_folder(kind, encoder_id)}/run={run_id}/part-{name}.parquet"


def staged(path: str) -> str:
    """Where a part waits until its run has committed, from its final path; see STAGING."""
    return f"{STAGING}/{path}"


def is_staged(path: str) -> bool:
    """Whether a path, relative to the output, is that of a waiting part."""
    return path.startswith(f"{STAGING}/")


def final(path: str) -> str:
    """The path of a part after the commit of its run, from any of its paths."""
    return path.removeprefix(f"{STAGING}/")


def uris_path(encoder_id: str, digest: str) -> str:
    """The path of the file with a list's uris, relative to the output.

    Args:
        encoder_id: the encoder's id.
        digest: of the list and its uris, in hex.
    """
    return f"{encoder_folder(LISTS, encoder_id)}/uris-{digest[:32]}.parquet"


def is_uris(path: str) -> bool:
    """Whether a path has the form that uris_path makes."""
    return _URIS_NAME.fullmatch(path.rpartition("/")[2]) is not None


def run_of(path: str) -> str | None:
    """The id of the run that wrote a part, from the part's path; None if the path has none."""
    found = re.search(r"/run=([^/]+)/", path)
    return found[1] if found else None


def is_part(path: str) -> bool:
    """Whether a path has the form that part_path makes."""
    return _PART_NAME.fullmatch(path.rpartition("/")[2]) is not None


def manifest_path(output: str) -> str:
    """The manifest's full path."""
    return join(output, "manifest.json")


def record_name(run_id: str) -> str:
    """The path of a run record, relative to the output."""
    return f"{RUNS}/{run_id}.json"


def record_path(output: str, run_id: str) -> str:
    """The full path of a run record."""
    return join(output, record_name(run_id))


# Commands of upkeep write parts into run folders of their own; the folders' names begin with the
# command. As long as no manifest names such a part, it only repeats rows of other parts.
COMPACT, REPAIR, PRUNE = "compact", "repair", "prune"
_UPKEEP_ID = re.compile(rf"({COMPACT}|{REPAIR}|{PRUNE})-")


def new_upkeep_id(command: str) -> str:
    """An id for the parts that a command writes: the command, the time (UTC), random digits."""
    return f"{command}-{datetime.now(timezone.utc):%Y%m%dT%H%M%SZ}-{uuid.uuid4().hex[:6]}"


def is_of_upkeep(path: str) -> bool:
    """Whether a command of upkeep wrote a part, from rows of other parts."""
    return _UPKEEP_ID.match(run_of(path) or "") is not None


def check_run_id(run_id: str) -> str:
    """Return the run id.

    Raises:
        InputError: the id can't be part of a path, or looks like one of upkeep.
    """
    if not _RUN_ID.fullmatch(run_id):
        raise InputError(
            f"--run-id {run_id!r}: expected letters, digits, '.', '_' and '-', 128 at most"
        )
    if _UPKEEP_ID.match(run_id):
        raise InputError(
            f"--run-id {run_id!r}: {COMPACT}-, {REPAIR}- and {PRUNE}- are for upkeep's parts"
        )
    return run_id


def is_half_manifest(path: str) -> bool:
    """Whether a path is a temporary manifest, which a killed commit leaves beside the real one."""
    return is_temporary(path) and path.startswith(".manifest.json.")


def output_folder(output: str | os.PathLike[str]) -> str:
    """The normalized path of an ``--output``.

    Raises:
        InputError: nothing can be written there.
    """
    try:
        place = normalize(output)
    except InputError as error:
        raise InputError(f"--output {error}") from error
    if not is_writable(place):
        raise InputError(f"--output {read_only_error(place)}")
    return place
