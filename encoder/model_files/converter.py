"""A process of its own that makes an .h5 file with tf-keras. It imports nothing of this package.

tf-keras gets no more mends for hostile files. The configs that it gets here were checked before;
this process is a second wall, for what the check overlooks: where the system can (Linux), it has no
network, and can't write outside of one folder. It can still read files.

In: a request on standard input, as JSON. Out: an error's text on standard output, or nothing.
"""

from __future__ import annotations

import ctypes
import json
import os
import sys
import warnings
from typing import TypedDict

_NEW_USER_AND_NETWORK = 0x10000000 | 0x40000000  # CLONE_NEWUSER, CLONE_NEWNET
_NO_NEW_PRIVILEGES = 38
# The calls of Landlock (Linux 5.13) have these numbers on all processors.
_CREATE_RULES, _ADD_RULE, _RESTRICT = 444, 445, 446
_WRITE_FILE = 1 << 1
_CHANGE_FOLDER = sum(1 << bit for bit in range(4, 13))  # make and remove entries
# Rights that later versions of Landlock know: to move files, and to cut them short.
_LATER_RIGHTS = {2: 1 << 13, 3: 1 << 14}


class Request(TypedDict):
    """What to convert. With a config, source is a checkpoint; without, it is a model file."""

    config: str | None
    source: str
    target: str


class _Below(ctypes.Structure):
    _pack_ = 1
    _layout_ = "ms"
    _fields_ = (("rights", ctypes.c_uint64), ("folder", ctypes.c_int32))


def restrict(folder: str) -> list[str]:
    """Take from this process, for good, the network and writing outside of a folder.

    Call it before the first thread starts.

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


def _restrict_writing(system: ctypes.CDLL, folder: str, version: int) -> bool:
    later = sum(right for first, right in _LATER_RIGHTS.items() if version >= first)
    rights = ctypes.c_uint64(_WRITE_FILE | _CHANGE_FOLDER | later)
    rules = system.syscall(_CREATE_RULES, ctypes.byref(rights), ctypes.c_size_t(8), 0)
    if rules < 0:
        return False
    opened = os.open(folder, os.O_PATH | os.O_DIRECTORY)
    try:
        below = _Below(rights.value, opened)
        return bool(
            system.syscall(_ADD_RULE, rules, 1, ctypes.byref(below), 0) == 0
            and system.prctl(_NO_NEW_PRIVILEGES, 1, 0, 0, 0) == 0
            and system.syscall(_RESTRICT, rules, 0) == 0
        )
    finally:
        os.close(opened)
        os.close(rules)


def convert(request: Request) -> None:
    """Make the .h5 file."""
    import tf_keras

    warnings.simplefilter("ignore")  # .h5 is outdated, but Keras 3 can read it
    if request["config"] is None:
        model = tf_keras.models.load_model(request["source"], compile=False)
    else:
        model = tf_keras.models.model_from_json(request["config"])
        status = model.load_weights(request["source"])
        status.assert_existing_objects_matched()
        status.expect_partial()  # without a warning: the state of the optimizer stays behind
    model.save(request["target"], save_format="h5", include_optimizer=False)


if __name__ == "__main__":
    sys.path.pop(0)  # this file's folder, whose modules would hide others of the same name
    asked: Request = json.load(sys.stdin)
    restrict(os.path.dirname(asked["target"]))
    try:
        convert(asked)
    except Exception as error:  # many types; all mean that it can't be converted
        print(error)
        sys.exit(1)
