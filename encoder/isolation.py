"""Take rights from a process that works on files of strangers: a second wall, where Linux can.

Such a process has no network, and writes nowhere or in one folder only. It can still read files.
"""

from __future__ import annotations

import ctypes
import os
import sys

_NEW_USER_AND_NETWORK = 0x10000000 | 0x40000000  # CLONE_NEWUSER, CLONE_NEWNET
_NO_NEW_PRIVILEGES = 38
# The calls of Landlock (Linux 5.13) have these numbers on all processors.
_CREATE_RULES, _ADD_RULE, _RESTRICT = 444, 445, 446
_EXECUTE, _WRITE_FILE = 1 << 0, 1 << 1
_CHANGE_FOLDER = sum(1 << bit for bit in range(4, 13))  # make and remove entries
# Rights that later versions of Landlock know: to move files, and to cut them short.
_LATER_RIGHTS = {2: 1 << 13, 3: 1 << 14}


class _Below(ctypes.Structure):
    _pack_ = 1
    _layout_ = "ms"
    _fields_ = (("rights", ctypes.c_uint64), ("folder", ctypes.c_int32))


def restrict(folder: str | None) -> list[str]:
    """Take from this process, for good, the network and writing outside of a folder.

    Call it before the first thread starts.

    Args:
        folder: where it may write; None for nowhere. Then it can't start programs either.

    Returns:
        What the system could not take, as words for people: empty if it took all.
    """
    if not sys.platform.startswith("linux"):
        return ["network", "writing"]
    system = ctypes.CDLL(None, use_errno=True)
    missing = []
    if system.unshare(_NEW_USER_AND_NETWORK) != 0:
        missing.append("network")
    version = system.syscall(_CREATE_RULES, None, ctypes.c_size_t(0), 1)
    if version < 1 or not _restrict_writing(system, folder, version):
        missing.append("writing")
    return missing


def _restrict_writing(system: ctypes.CDLL, folder: str | None, version: int) -> bool:
    later = sum(right for first, right in _LATER_RIGHTS.items() if version >= first)
    programs = _EXECUTE if folder is None else 0
    rights = ctypes.c_uint64(_WRITE_FILE | _CHANGE_FOLDER | later | programs)
    rules = system.syscall(_CREATE_RULES, ctypes.byref(rights), ctypes.c_size_t(8), 0)
    if rules < 0:
        return False
    try:
        if folder is not None and not _allow_below(system, rules, folder, rights.value):
            return False
        return bool(
            system.prctl(_NO_NEW_PRIVILEGES, 1, 0, 0, 0) == 0
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
