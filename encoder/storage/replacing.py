"""Replace a local file only over an expected version, also where several machines share a folder.

A lock of the folder keeps the processes of one machine apart, and ends with its holder. On file
systems of several machines it need not reach the others: NFS takes a lock of a folder for the own
machine alone, sshfs every lock. So there, a second file decides, the claim. It is named after the
version to be replaced, and only one machine can create it. See
docs/decisions/0007-claims-on-shared-file-systems.md.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import uuid
from collections.abc import Iterator
from typing import Final, Literal

from encoder.errors import ClaimedError, InputError
from encoder.storage.file_systems import Mount, mounts

Sharing = Literal["one machine", "several machines", "unsafe"]
ONE: Final = "one machine"
SEVERAL: Final = "several machines"
UNSAFE: Final = "unsafe"

# By their names in /proc/self/mountinfo. Others may be shared: a claim does no harm there.
_OF_ONE_MACHINE = frozenset(
    [
        "ext2",
        "ext3",
        "ext4",
        "xfs",
        "btrfs",
        "zfs",
        "f2fs",
        "bcachefs",
        "jfs",
        "reiserfs",
        "nilfs2",
        "udf",
        "tmpfs",
        "ramfs",
        "rootfs",
        "overlay",
        "aufs",
        "vfat",
        "msdos",
        "exfat",
        "ntfs",
        "ntfs3",
        "fuseblk",
        "hfs",
        "hfsplus",
        "ecryptfs",
    ]
)
# They keep objects: two machines can create the same file, and a rename is a copy and a deletion.
_OF_OBJECTS = re.compile(
    r"fuse\.(gcsfuse|s3fs|rclone|goofys|geesefs|blobfuse2?|ossfs|cosfs|obsfs|tigrisfs|mountpoint-s3)"
)
_BOOT = "/proc/sys/kernel/random/boot_id"
_KEPT_SECONDS = 24 * 3600  # far longer than a machine may hold an old state of a file in its cache


def mount_of(path: str) -> Mount | None:
    """The mount that holds a path, which need not exist; None if the system does not state it."""
    real = os.path.realpath(path)
    found = None
    for mount in mounts():
        inside = f"{real}/".startswith(mount.point if mount.point == "/" else f"{mount.point}/")
        if inside and (found is None or len(mount.point) >= len(found.point)):
            found = mount
    return found


def sharing_of(path: str) -> Sharing:
    """Who may write to a folder at the same time, by the kind of its file system."""
    mount = mount_of(path)
    if mount is None or mount.kind in _OF_ONE_MACHINE:
        return ONE
    return UNSAFE if _OF_OBJECTS.fullmatch(mount.kind) else SEVERAL


def check_commits(folder: str) -> None:
    """Check that a dataset can be committed safely in a folder, which need not exist.

    Raises:
        InputError: two machines could commit there at once, and neither would find out.
    """
    if sharing_of(folder) == UNSAFE:
        mount = mount_of(folder)
        kind = mount.kind if mount else ""
        raise InputError(
            f"{folder!r} is on {kind}, which keeps files as objects of a bucket: two runs could "
            "replace each other's manifest there. Expected a file system, or the bucket's own "
            "address, such as gs://BUCKET/FOLDER"
        )


@contextlib.contextmanager
def locked(folder: str, needed: bool) -> Iterator[bool]:
    """Keep other processes of this machine out; the lock ends with the process, too.

    Args:
        folder: it is locked itself, so that no lock file is left over.
        needed: whether a file system that refuses locks is an error; otherwise a claim decides.

    Yields:
        Whether there is a lock.
    """
    import fcntl

    descriptor = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            held = True
        except OSError:
            if needed:
                raise
            held = False
        yield held
    finally:
        os.close(descriptor)


def machine_of(folder: str, has_lock: bool) -> str:
    """What the lock of a folder keeps apart: this machine since it was started, and the mount.

    Without a lock, each call is taken for another machine.
    """
    if not has_lock:
        return uuid.uuid4().hex
    try:
        with open(_BOOT, encoding="ascii") as file:
            boot = file.read().strip()
    except OSError:
        boot = f"{uuid.getnode():x}"
    return f"{boot}:{os.stat(folder).st_dev}"


def claim(path: str, version: str | None, machine: str) -> None:
    """Become the only machine that may replace this version of a file. Call it within locked.

    The claim of a process of this machine that was killed before it replaced the file is taken
    over: since this process holds the lock, the other one is gone.

    Args:
        path: of the file to be replaced.
        version: the one to be replaced; None if the file does not exist.
        machine: from machine_of.

    Raises:
        ClaimedError: another machine has the claim.
    """
    place = claim_path(path, version)
    token = uuid.uuid4().hex
    content = json.dumps({"machine": machine, "host": os.uname().nodename, "token": token})
    if _create(place, content, token):
        return
    with contextlib.suppress(OSError, ValueError, TypeError, KeyError):
        with open(place, encoding="utf-8") as file:
            owner = json.load(file)
        # With our token, the answer to our own request was lost, and it was repeated.
        if owner["token"] == token or owner["machine"] == machine:
            return
    raise ClaimedError(
        f"another machine has replaced {path}, or was stopped while it did so. If this error comes "
        f"again and no other machine works with it, delete {place}"
    )


def claim_path(path: str, version: str | None) -> str:
    """The file that a machine creates before it replaces a version of a file."""
    folder, name = os.path.split(path)
    return os.path.join(folder, f".{name}.after-{version or 'nothing'}.claim")


def drop_old_claims(path: str, version: str | None) -> None:
    """Delete old claims of a file, but for that of the version that was replaced last."""
    folder, name = os.path.split(path)
    last = claim_path(path, version)
    with contextlib.suppress(OSError):  # others may do the same
        now = os.stat(last).st_mtime  # of the server's clock
        for entry in list(os.scandir(folder)):
            is_claim = entry.name.startswith(f".{name}.after-") and entry.name.endswith(".claim")
            if is_claim and entry.path != last and entry.stat().st_mtime < now - _KEPT_SECONDS:
                os.remove(entry.path)


def _create(place: str, content: str, token: str) -> bool:
    """Create a file that must not exist; with all of its content at once, where links are known."""
    temporary = f"{place}.{token}.tmp"
    try:
        with open(temporary, "x", encoding="utf-8") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        with contextlib.suppress(OSError):
            os.link(temporary, place)
            return True
        if os.path.lexists(place):
            return False
        try:
            with open(place, "x", encoding="utf-8") as file:
                file.write(content)
        except OSError:  # some file systems have no code of their own for a file that exists
            return False
        return True
    finally:
        with contextlib.suppress(OSError):
            os.remove(temporary)
