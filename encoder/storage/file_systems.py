"""What file systems are mounted; open only regular files on real ones.

Reading anything else may wait forever, or never end: a pipe, a device, a socket, and what the
system makes up while it is read, in /proc and /sys.
"""

from __future__ import annotations

import os
import re
import stat
from typing import BinaryIO, NamedTuple

_MOUNTS = "/proc/self/mountinfo"
_ESCAPED = re.compile(r"\\([0-7]{3})")  # a character of a path there
# What these hold is not stored anywhere.
_SPECIAL = frozenset(
    [
        *("autofs", "binder", "binfmt_misc", "bpf", "cgroup", "cgroup2", "configfs", "cpuset"),
        *("debugfs", "devpts", "devtmpfs", "efivarfs", "fusectl", "mqueue", "nsfs", "pipefs"),
        *("proc", "pstore", "resctrl", "rpc_pipefs", "securityfs", "selinuxfs", "sockfs"),
        *("sysfs", "tracefs"),
    ]
)
_KINDS = {
    stat.S_IFIFO: "a named pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
    stat.S_IFDIR: "a folder",
}
_types: dict[int, str] = {}  # device number -> type of the file system


class Mount(NamedTuple):
    """A mounted file system: its device number, where it is mounted, and its type."""

    device: int
    point: str
    kind: str


def open_regular(path: str) -> BinaryIO:
    """Open a regular file for reading.

    Raises:
        FileNotFoundError: there is no such file.
        OSError: it can't be opened, or it is not a regular file.
    """
    _check(path, os.stat(path))  # opening some devices has effects
    file = open(path, "rb", opener=_without_waiting)  # noqa: SIM115 - the caller closes it
    try:
        _check(path, os.fstat(file.fileno()))
    except OSError:
        file.close()
        raise
    return file


def _without_waiting(path: str, flags: int) -> int:
    """Open a path; if a pipe has taken the place of a file meanwhile, this does not wait."""
    try:
        descriptor = os.open(path, flags | os.O_NONBLOCK)
    except BlockingIOError:  # a file that another program has a lease on, such as Samba
        return os.open(path, flags)
    os.set_blocking(descriptor, True)
    return descriptor


def describe_special(path: str) -> str:
    """What a path that is not a regular file is, in words.

    Raises:
        OSError: there is nothing, or it is not accessible.
    """
    return _problem(os.stat(path)) or "a file"


def special_file_system(state: os.stat_result) -> str:
    """The type of the file system that a file is on, if files are made up there; else ""."""
    kind = _type_of(state.st_dev)
    return kind if kind in _SPECIAL else ""


def _check(path: str, state: os.stat_result) -> None:
    problem = _problem(state)
    if problem:
        raise OSError(f"{path} is not a regular file: {problem}")


def _problem(state: os.stat_result) -> str:
    kind = stat.S_IFMT(state.st_mode)
    if kind != stat.S_IFREG:
        return _KINDS.get(kind, "of an unknown kind")
    special = special_file_system(state)
    return f"the system makes up what is in it ({special})" if special else ""


def _type_of(device: int) -> str:
    if device not in _types:
        _types.update({mount.device: mount.kind for mount in mounts()})
        _types.setdefault(device, "")  # such as a part of a btrfs file system
    return _types[device]


def mounts() -> list[Mount]:
    """The mounted file systems, in the order of mounting; none where the system isn't Linux.

    Source: proc_pid_mountinfo(5).
    """
    try:
        with open(_MOUNTS, encoding="utf-8", errors="surrogateescape") as file:
            lines = file.read().splitlines()
    except OSError:
        return []
    found = []
    for line in lines:
        before, _, after = line.partition(" - ")
        _, _, device, _, point, *_ = before.split(" ")
        major, _, minor = device.partition(":")
        found.append(
            Mount(
                os.makedev(int(major), int(minor)),
                _ESCAPED.sub(lambda code: chr(int(code[1], 8)), point),
                after.split(" ", 1)[0],
            )
        )
    return found
