"""Take rights from a process that works on files of strangers: a second wall, where Linux can.

Such a process has no network, and writes nowhere or in a few folders only. It can still read files.
"""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Sequence

_NEW_USER, _NEW_NETWORK = 0x10000000, 0x40000000  # CLONE_NEWUSER, CLONE_NEWNET
_NO_NEW_PRIVILEGES = 38
# The calls of Landlock (Linux 5.13) have these numbers on all processors.
_CREATE_RULES, _ADD_RULE, _RESTRICT = 444, 445, 446
_EXECUTE, _WRITE_FILE = 1 << 0, 1 << 1
_CHANGE_FOLDER = sum(1 << bit for bit in range(4, 13))  # make and remove entries
# Rights that later versions of Landlock know: to move files, and to cut them short.
_LATER_RIGHTS = {2: 1 << 13, 3: 1 << 14}
_TCP, _KNOWS_TCP = 1 << 0 | 1 << 1, 4  # to bind and to connect; the version that knows them


class _Rules(ctypes.Structure):
    _fields_ = (("files", ctypes.c_uint64), ("network", ctypes.c_uint64))


class _Below(ctypes.Structure):
    _pack_ = 1
    _layout_ = "ms"
    _fields_ = (("rights", ctypes.c_uint64), ("folder", ctypes.c_int32))


def restrict(folders: Sequence[str] = (), network: bool = False) -> list[str]:
    """Take from this process, for good, the network and writing outside of some folders.

    Call it before the first thread starts.

    Args:
        folders: where it may write. If there are none, it can't start programs either.
        network: leave it the network.

    Returns:
        What the system could not take, as words for people: empty if it took all.
    """
    if not sys.platform.startswith("linux"):
        return ["network", "writing"]
    system = ctypes.CDLL(None, use_errno=True)
    version = system.syscall(_CREATE_RULES, None, ctypes.c_size_t(0), 1)
    is_apart = network or _leave_network(system)
    is_bound = version > 0 and _add_rules(system, folders, network, version)
    missing = []
    if not (is_apart or (is_bound and version >= _KNOWS_TCP)):
        missing.append("network")
    if not is_bound:
        missing.append("writing")
    return missing


def restricted_environment() -> dict[str, str]:
    """The environment for such a process, in which it finds the modules that this one finds."""
    path = os.pathsep.join(each or os.getcwd() for each in sys.path)
    return {**os.environ, "PYTHONPATH": path}


def _leave_network(system: ctypes.CDLL) -> bool:
    if system.unshare(_NEW_NETWORK) == 0:
        return True
    # Without rights, it takes a namespace of users as well. In one, root could no longer read the
    # files of others.
    return os.geteuid() != 0 and system.unshare(_NEW_USER | _NEW_NETWORK) == 0


def _add_rules(system: ctypes.CDLL, folders: Sequence[str], network: bool, version: int) -> bool:
    later = sum(right for first, right in _LATER_RIGHTS.items() if version >= first)
    programs = 0 if folders else _EXECUTE
    files = _WRITE_FILE | _CHANGE_FOLDER | later | programs
    knows_network = version >= _KNOWS_TCP
    asked = _Rules(files, 0 if network or not knows_network else _TCP)
    size = ctypes.sizeof(asked) if knows_network else ctypes.sizeof(ctypes.c_uint64)
    rules = system.syscall(_CREATE_RULES, ctypes.byref(asked), ctypes.c_size_t(size), 0)
    if rules < 0:
        return False
    try:
        return bool(
            all(_allow_below(system, rules, folder, files) for folder in folders)
            and system.prctl(_NO_NEW_PRIVILEGES, 1, 0, 0, 0) == 0
            and system.syscall(_RESTRICT, rules, 0) == 0
        )
    finally:
        os.close(rules)


def _allow_below(system: ctypes.CDLL, rules: int, folder: str, rights: int) -> bool:
    opened = os.open(folder, os.O_PATH | os.O_DIRECTORY)
    try:
        below = _Below(rights, opened)
        return bool(system.syscall(_ADD_RULE, rules, 1, ctypes.byref(below), 0) == 0)
    finally:
        os.close(opened)
