"""The parts that upkeep writes: until a manifest names them, they only repeat rows of others."""

from __future__ import annotations

import re
import uuid
from datetime import datetime, timezone

COMPACT, REPAIR = "compact", "repair"  # the commands, with which the names of their folders begin
_ID = re.compile(rf"({COMPACT}|{REPAIR})-")
_FOLDER = re.compile(rf"/run=({COMPACT}|{REPAIR})-")


def new_copy_id(command: str) -> str:
    """Names the folder of the parts that a command writes: the command, time and chance."""
    return f"{command}-{datetime.now(timezone.utc):%Y%m%dT%H%M%SZ}-{uuid.uuid4().hex[:6]}"


def is_copy_id(run_id: str) -> bool:
    """Whether a run id could be taken for one of new_copy_id."""
    return _ID.match(run_id) is not None


def is_copy(path: str) -> bool:
    """Whether a part was written by upkeep, from rows that lay elsewhere in the output."""
    return _FOLDER.search(path) is not None
