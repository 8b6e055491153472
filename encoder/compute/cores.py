"""The cores and the memory that this process may use, and what follows for calls of a model."""

from __future__ import annotations

import math
import os
import pathlib
from collections.abc import Iterator

# Images per call of a model on a CPU. Few are as fast as many; they fit its caches better, and the
# first vectors are there sooner.
CPU_CALL = 8
# What a call holds for each pixel of an image: 64 channels of float32, as in the first layers of
# VGG and U-Net, before and behind a layer.
_CALL_BYTES_PER_PIXEL = CPU_CALL * 64 * 4 * 2
_CGROUPS = pathlib.Path("/sys/fs/cgroup")
_OWN = pathlib.Path("/proc/self/cgroup")


def usable_cores() -> int:
    """The cores of this machine, less where affinity or a container's quota (cgroups) says so."""
    if hasattr(os, "sched_getaffinity"):
        cores = len(os.sched_getaffinity(0))
    else:
        cores = os.cpu_count() or 1
    shares = _limits("cpu", "cpu.max", ("cpu.cfs_quota_us", "cpu.cfs_period_us"))
    limited = [words for words in shares if len(words) == 2 and words[0] not in ("max", "-1")]
    quotas = [int(quota) / int(period) for quota, period in limited]
    return max(1, min([cores, *map(math.ceil, quotas)]))


def usable_memory() -> int:
    """Bytes of this machine's memory, less where a container's limit (cgroups) says so."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    found = _limits("memory", "memory.max", ("memory.limit_in_bytes",))
    return min([memory, *(int(limit) for (limit,) in found if limit != "max")])


def threads_per_call(height: int, width: int) -> int:
    """How many threads a call of a model gets on a CPU: one, or all cores.

    One, and as many calls at once as there are cores: no core waits for another at the end of each
    layer. Where these calls would hold more than a quarter of the memory, all cores for one call.

    Args:
        height: of the images, in pixels.
        width: likewise.
    """
    cores = usable_cores()
    fits = cores * height * width * _CALL_BYTES_PER_PIXEL <= usable_memory() // 4
    return 1 if fits else cores


def _limits(controller: str, name: str, old_names: tuple[str, ...]) -> Iterator[list[str]]:
    """The words in the files of each control group around this process that has them.

    Args:
        controller: such as "cpu".
        name: of the file in control groups of the second version.
        old_names: of those in the first version, one word each.
    """
    for line in _read(_OWN).splitlines():
        _, controllers, group = line.split(":", 2)
        if not controllers:
            yield from _words_above(_CGROUPS, group, (name,))
        elif controller in controllers.split(","):
            yield from _words_above(_CGROUPS / controller, group, old_names)


def _words_above(root: pathlib.Path, group: str, files: tuple[str, ...]) -> Iterator[list[str]]:
    folder = root / group.lstrip("/")
    # A container may be told the name that its group has outside, and sees it at the root.
    for each in (folder, *folder.parents):
        words = [word for file in files for word in _read(each / file).split()]
        if words:
            yield words
        if each == root:
            return


def _read(path: pathlib.Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""
