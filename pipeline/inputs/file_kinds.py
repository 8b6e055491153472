"""Which files are images, archives or lists, by their names.

A folder search takes files with an image's extension and archives. A file that is named takes part
whatever its extension is. The kinds of images are in encoder.images.kinds.
"""

from __future__ import annotations

import functools
import re
from typing import Final, Literal

from encoder.images.kinds import IMAGE_EXTENSIONS

ArchiveKind = Literal["tar", "zip", "tfrecord", "parquet"]
TAR: Final = "tar"
ZIP: Final = "zip"
TFRECORD: Final = "tfrecord"
PARQUET: Final = "parquet"

ListKind = Literal["text", "csv", "json lines", "parquet"]
TEXT: Final = "text"
CSV: Final = "csv"
JSON_LINES: Final = "json lines"

_ARCHIVES: dict[ArchiveKind, re.Pattern[str]] = {
    TAR: re.compile(r"\.(tar|tgz|tbz2?|txz|tar\.(gz|bz2|xz))$", re.I),
    ZIP: re.compile(r"\.zip$", re.I),
    # The second form is TensorFlow's for shards; in its checkpoints .data comes before it.
    TFRECORD: re.compile(
        r"(\.(tfrecords?|tfrec)(-\d+-of-\d+)?|(?<!\.data)-\d{5}-of-\d{5})(\.gz)?$", re.I
    ),
    PARQUET: re.compile(r"\.parquet$", re.I),
}
# Folder searches skip Parquet files: many folders have some with other data.
_IN_FOLDERS = (TAR, ZIP, TFRECORD)
_LISTS: dict[ListKind, re.Pattern[str]] = {
    TEXT: re.compile(r"\.(txt|lst|list)(\.(gz|bz2|xz))?$", re.I),
    CSV: re.compile(r"\.(csv|tsv)(\.(gz|bz2|xz))?$", re.I),
    JSON_LINES: re.compile(r"\.(jsonl?|ndjson)(\.(gz|bz2|xz))?$", re.I),
    PARQUET: _ARCHIVES[PARQUET],
}

# Folders that systems keep for themselves: thumbnails, deleted files, copies of earlier states.
_SYSTEM_FOLDERS = (
    *("@eaDir", "@tmp", "#recycle", "#snapshot"),  # Synology
    *("@Recycle", "@Recently-Snapshot", "@__thumb", ".@__thumb"),  # QNAP
    *("~snapshot", "lost+found"),  # NetApp, ext4
    *("$RECYCLE.BIN", "System Volume Information"),  # Windows
    *("__MACOSX", "Network Trash Folder", "Temporary Items"),  # macOS
)
_LEFTOVERS = re.compile(rf"(?:^|(?<=/))({'|'.join(map(re.escape, _SYSTEM_FOLDERS))})(?=/)", re.I)


def archive_kind(name: str) -> ArchiveKind | None:
    """The kind of an archive, by its name; None for other files."""
    return next((kind for kind, form in _ARCHIVES.items() if form.search(name)), None)


def list_kind(name: str) -> ListKind | None:
    """The kind of a list of images, by its name; None for other files."""
    return next((kind for kind, form in _LISTS.items() if form.search(name)), None)


def is_hidden(name: str) -> bool:
    """Whether a relative path has a file or folder whose name starts with a dot."""
    return any(part.startswith(".") and part not in (".", "..") for part in name.split("/"))


def leftovers_in(path: str) -> list[str]:
    """The folders in a relative path that a NAS or a system keeps for itself.

    A folder's own path has to end with a slash.
    """
    return _LEFTOVERS.findall(path)


def is_left_out(name: str) -> bool:
    """Whether something in a relative path is hidden or kept by a NAS or a system for itself."""
    folder, _, own = name.rpartition("/")
    return own.startswith(".") or (folder != "" and _is_folder_left_out(folder))


@functools.lru_cache(2048)  # most files of a listing are in a folder that was met before
def _is_folder_left_out(path: str) -> bool:
    return is_hidden(path) or bool(leftovers_in(f"{path}/"))


def has_searched_extension(name: str) -> bool:
    """Whether a search of a folder takes files with this extension."""
    return name.lower().endswith(IMAGE_EXTENSIONS) or archive_kind(name) in _IN_FOLDERS


def is_named_as_input(name: str) -> bool:
    """Whether the extension is that of an image, an archive or a list."""
    return bool(name.lower().endswith(IMAGE_EXTENSIONS) or archive_kind(name) or list_kind(name))


def is_image_name(name: str) -> bool:
    """Whether the extension is that of an image and nothing in the relative path is left out."""
    return name.lower().endswith(IMAGE_EXTENSIONS) and not is_left_out(name)


def is_searched(name: str) -> bool:
    """Whether a search of a folder takes a file of this name, relative to the folder."""
    return has_searched_extension(name) and not is_left_out(name)


def has_no_extension(name: str) -> bool:
    """Whether only the content can show what a file is; hidden files and leftovers are skipped."""
    return "." not in name.rpartition("/")[2] and not is_left_out(name)
