"""How many cores this process may use."""

from __future__ import annotations

import math
import os
import pathlib
from collections.abc import Iterator

_CGROUPS = pathlib.Path("/sys/fs/cgroup")
_OWN = pathlib.Path("/proc/self/cgroup")


def usable_cores() -> int:
    """The cores of this machine, less where affinity or a container's quota (cgroups) says so."""
    if hasattr(os, "sched_getaffinity"):
        cores = len(os.sched_getaffinity(0))
    else:
        cores = os.cpu_count() or 1
    return max(1, min([cores, *map(math.ceil, _quotas())]))


def _quotas() -> Iterator[float]:
    """Cores' worth of time that each control group around this process may use, where limited."""
    for line in _read(_OWN).splitlines():
        _, controllers, name = line.split(":", 2)
        if not controllers:
            yield from _quotas_above(_CGROUPS, name, ("cpu.max",))
        elif "cpu" in controllers.split(","):
            files = ("cpu.cfs_quota_us", "cpu.cfs_period_us")
            yield from _quotas_above(_CGROUPS / "cpu", name, files)


def _quotas_above(root: pathlib.Path, name: str, files: tuple[str, ...]) -> Iterator[float]:
    folder = root / name.lstrip("/")
    # A container may be told the name that its group has outside, and sees it at the root.
    for each in (folder, *folder.parents):
        words = [word for file in files for word in _read(each / file).split()]
        if len(words) == 2 and words[0] not in ("max", "-1"):
            yield int(words[0]) / int(words[1])
        if each == root:
            return


def _read(path: pathlib.Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""
