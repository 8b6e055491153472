"""Where things lie in a dataset, by their paths relative to it."""

from __future__ import annotations

import os
import re
import uuid
from datetime import datetime, timezone

from encoder.errors import InputError
from encoder.storage.base import is_temporary, join
from encoder.storage.registry import is_writable, normalize, read_only_error
from pipeline.records import LISTS

_PART_NAME = re.compile(r"part-[0-9a-f]+\.parquet")
_URIS_NAME = re.compile(r"uris-[0-9a-f]+\.parquet")
_RUN_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")


def encoder_folder(kind: str, encoder_id: str) -> str:
    """Where one encoder's parts lie, relative to the output."""
    return f"{kind}/encoder={encoder_id}"


def part_path(kind: str, encoder_id: str, run_id: str, name: str) -> str:
    """A part's path, relative to the output."""
    return f"{encoder_folder(kind, encoder_id)}/run={run_id}/part-{name}.parquet"


def uris_path(encoder_id: str, digest: str) -> str:
    """Where the uris of a list are remembered, relative to the output; by what they are."""
    return f"{encoder_folder(LISTS, encoder_id)}/uris-{digest[:32]}.parquet"


def is_uris(path: str) -> bool:
    """Whether a path is one that uris_path makes."""
    return _URIS_NAME.fullmatch(path.rpartition("/")[2]) is not None


def run_of(path: str) -> str:
    """The id of the run that wrote a part, from the part's path; "" if it says none."""
    found = re.search(r"/run=([^/]+)/", path)
    return found[1] if found else ""


def is_part(path: str) -> bool:
    """Whether a path is that of a part file, as part_path makes it."""
    return _PART_NAME.fullmatch(path.rpartition("/")[2]) is not None


def manifest_path(output: str) -> str:
    """The manifest's full path."""
    return join(output, "manifest.json")


def record_path(output: str, run_id: str) -> str:
    """The full path of a run record."""
    return join(output, "runs", f"{run_id}.json")


# The commands whose parts lie in folders of their own, which begin with their names. Until a
# manifest names such a part, it only repeats rows of others.
COMPACT, REPAIR = "compact", "repair"
_UPKEEP_ID = re.compile(rf"({COMPACT}|{REPAIR})-")


def new_upkeep_id(command: str) -> str:
    """Names the folder of the parts that a command writes: the command, time and chance."""
    return f"{command}-{datetime.now(timezone.utc):%Y%m%dT%H%M%SZ}-{uuid.uuid4().hex[:6]}"


def is_of_upkeep(path: str) -> bool:
    """Whether a part was written by upkeep, from rows that lay elsewhere in the output."""
    return _UPKEEP_ID.match(run_of(path)) is not None


def check_run_id(run_id: str) -> str:
    """Raise InputError for a run id that can't be part of a path."""
    if not _RUN_ID.fullmatch(run_id):
        raise InputError(
            f"--run-id {run_id!r}: expected letters, digits, '.', '_' and '-', 128 at most"
        )
    if _UPKEEP_ID.match(run_id):
        raise InputError(f"--run-id {run_id!r}: {COMPACT}- and {REPAIR}- are for upkeep's parts")
    return run_id


def is_half_manifest(path: str) -> bool:
    """Whether a commit that was killed has left this beside the manifest."""
    return is_temporary(path) and path.startswith(".manifest.json.")


def output_folder(output: str | os.PathLike[str]) -> str:
    """The path of an ``--output`` as this project writes it.

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
