"""The paths of all files in a dataset.

Only full_path and full_folder make a path in the output from one that a file or a listing gave:
they refuse every path that this project does not write, and links that lead out of the output.
"""

from __future__ import annotations

import os
import re
import uuid
from datetime import datetime, timezone
from typing import Final, NamedTuple, cast

from encoder.errors import InputError
from encoder.storage.base import join
from encoder.storage.registry import is_remote, is_writable, normalize, read_only_error
from pipeline.errors import PathError
from pipeline.records import LISTS, Kind

RUNS: Final = "runs"  # the folder of the run records
SUBMITTED: Final = "submitted"  # the folder of notes of jobs on Dataflow; see upkeep.submissions
# Parts wait in this folder until their run has committed. Then they move to the same path in the
# output, so that who reads the folder of embeddings never sees rows of a run that did not commit.
STAGING: Final = "staging"
MANIFEST: Final = "manifest.json"
RUN_ID: Final = r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}"
_RUN_ID = re.compile(RUN_ID)
_ENCODER = r"encoder=(?P<encoder_id>[0-9a-f]{16})"
_RUN = rf"run=(?P<run_id>{RUN_ID})"
_HALF = r"(?P<half>\.[A-Za-z0-9._-]{1,200}\.tmp)"
_KIND = r"(?P<kind>embeddings|failures|lists|changes)"


def _file(name: str) -> str:
    """The form of a file's name, and of the temporary file that it is written to first."""
    return rf"(?:{name}|{_HALF})"


_PART = _file(r"part-[0-9a-f]{1,64}\.parquet")
_FILES = [
    re.compile(form)
    for form in (
        rf"(?P<staged>{STAGING}/)?(?P<kind>embeddings|failures)/{_ENCODER}/{_RUN}/{_PART}",
        rf"(?P<kind>changes)/{_ENCODER}/{_RUN}/{_PART}",
        rf"(?P<kind>lists)/{_ENCODER}/" + _file(r"uris-[0-9a-f]{1,64}\.parquet"),
        rf"{RUNS}/" + _file(rf"{RUN_ID}\.json"),
        rf"{SUBMITTED}/" + _file(rf"(?P<run_id>{RUN_ID})\.json"),
        # A folder of its own: a run may have any id, with ".failed" at its end, too.
        rf"(?P<failed>{RUNS}/failed)/" + _file(rf"{RUN_ID}\.json"),
        r"manifest\.json|(?P<half>\.manifest\.json\.[0-9a-f]{1,32}\.tmp)",
    )
]
_FOLDERS = re.compile(
    rf"{RUNS}|{SUBMITTED}|{STAGING}|(?:{STAGING}/)?{_KIND}(?:/{_ENCODER}(?:/{_RUN})?)?"
)


class OwnFile(NamedTuple):
    """What the path of a file in the output says; None for what it does not have.

    Attributes:
        kind: the kind of its rows.
        encoder_id, run_id: whose it is.
        staged: whether it is in the staging folder.
        half: whether it is a temporary file, which a killed command left.
        failed: whether it is the record of a failed run.
    """

    kind: Kind | None = None
    encoder_id: str | None = None
    run_id: str | None = None
    staged: bool = False
    half: bool = False
    failed: bool = False


def own_file(path: str) -> OwnFile | None:
    """What a path, relative to the output, says; None if this project writes no such path."""
    for form in _FILES:
        found = form.fullmatch(path)
        if found:
            names = found.groupdict()
            return OwnFile(
                cast("Kind | None", names.get("kind")),
                names.get("encoder_id"),
                names.get("run_id"),
                bool(names.get("staged")),
                bool(names.get("half")),
                bool(names.get("failed")),
            )
    return None


def full_path(output: str, path: str, of_link: bool = False) -> str:
    """The full path of a file in the output. All files there are reached through this.

    Args:
        output: the dataset's folder.
        path: relative to the output.
        of_link: allow that the path is that of a symbolic link, to remove the link itself.

    Raises:
        PathError: this project writes no such path, or a link on it may lead out of the output.
    """
    if own_file(path) is None:
        raise PathError(
            f"{path!r} is no path of a file in a dataset, and may lead out of {output}; "
            "'python -m pipeline verify OUTPUT' shows what is wrong"
        )
    return _without_links(output, path, of_link)


def full_folder(output: str, folder: str) -> str:
    """The full path of a folder in the output, like full_path."""
    if not _FOLDERS.fullmatch(folder):
        raise PathError(f"{folder!r} is no path of a folder in a dataset")
    return _without_links(output, folder, of_link=False)


def relative_path(output: str, full: str) -> str:
    """A path relative to the output, from one that a listing of the output gave."""
    return full.removeprefix(join(output, ""))


def _without_links(output: str, path: str, of_link: bool) -> str:
    """Join a checked path to the output, unless something on it is a symbolic link."""
    if is_remote(output):
        return join(output, path)
    full = output
    names = path.split("/")
    for number, name in enumerate(names, 1):
        full = join(full, name)
        if os.path.islink(full) and not (of_link and number == len(names)):
            raise PathError(
                f"{full} is a symbolic link, and in a dataset it may lead out of the output. Put "
                "the file or folder itself there, or let 'python -m pipeline verify OUTPUT "
                "--repair' take the link out"
            )
    return full


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
    found = own_file(path)
    return found is not None and found.kind == LISTS and not found.half


def run_of(path: str) -> str | None:
    """The id of the run that wrote a part, from the part's path; None if the path has none."""
    found = own_file(path)
    return found.run_id if found else None


def is_part(path: str) -> bool:
    """Whether a path has the form that part_path makes, or staged of it."""
    found = own_file(path)
    return found is not None and None not in (found.kind, found.run_id) and not found.half


def manifest_path(output: str) -> str:
    """The manifest's full path."""
    return full_path(output, MANIFEST)


def record_name(run_id: str) -> str:
    """The path of a run record, relative to the output."""
    return f"{RUNS}/{run_id}.json"


def submission_name(run_id: str) -> str:
    """The path of the note of a run's job on Dataflow, relative to the output."""
    return f"{SUBMITTED}/{run_id}.json"


def failed_record_name(run_id: str) -> str:
    """The path of a failed run's record, relative to the output."""
    return f"{RUNS}/failed/{run_id}.json"


def is_failed_record(path: str) -> bool:
    """Whether a path has the form that failed_record_name makes."""
    return own_file(path) == OwnFile(failed=True)


def record_path(output: str, run_id: str) -> str:
    """The full path of a run record."""
    return full_path(output, record_name(run_id))


# Commands of upkeep write parts into run folders of their own; the folders' names begin with the
# command. As long as no manifest names such a part, it only repeats rows of other parts.
COMPACT, REPAIR, PRUNE = "compact", "repair", "prune"
_UPKEEP_ID = re.compile(rf"({COMPACT}|{REPAIR}|{PRUNE})-")


def new_upkeep_id(command: str) -> str:
    """An id for the parts that a command writes: the command, the time (UTC), random digits."""
    return f"{command}-{datetime.now(timezone.utc):%Y%m%dT%H%M%SZ}-{uuid.uuid4().hex[:6]}"


def is_of_upkeep(path: str) -> bool:
    """Whether a command of upkeep wrote a part, from rows of other parts."""
    return is_upkeep_id(run_of(path) or "")


def is_upkeep_id(run_id: str) -> bool:
    """Whether a command of upkeep has this id, and no run."""
    return _UPKEEP_ID.match(run_id) is not None


def check_run_id(run_id: str) -> str:
    """Return the run id.

    Raises:
        InputError: the id can't be part of a path, or looks like one of upkeep.
    """
    if not _RUN_ID.fullmatch(run_id):
        raise InputError(
            f"--run-id {run_id!r}: expected letters, digits, '.', '_' and '-', 128 at most"
        )
    if is_upkeep_id(run_id):
        raise InputError(
            f"--run-id {run_id!r}: {COMPACT}-, {REPAIR}- and {PRUNE}- are for upkeep's parts"
        )
    return run_id


def is_half_manifest(path: str) -> bool:
    """Whether a path is a temporary manifest, which a killed commit leaves beside the real one."""
    found = own_file(path)
    return found == OwnFile(half=True) and "/" not in path


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
