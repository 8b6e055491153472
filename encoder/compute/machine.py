"""The machine's CPUs, GPUs, cores and memory, as the operating system reports them."""

from __future__ import annotations

import math
import os
import pathlib
import platform
import re
from collections.abc import Iterator

_CPUINFO = pathlib.Path("/proc/cpuinfo")
_NVIDIA = pathlib.Path("/proc/driver/nvidia")
_PCI = pathlib.Path("/sys/bus/pci/devices")
_NVIDIA_VENDOR, _DISPLAY = "0x10de", "0x03"  # PCI numbers of the vendor and the device class
_BFLOAT16 = {"avx512_bf16": "AVX512_BF16", "amx_bf16": "AMX"}
# Images per call of a model on a CPU. Larger calls are not faster, since they fit the caches less
# well, and the first vectors would come later.
CPU_CALL = 8
# Memory of a call per pixel of an image: 64 channels of float32, as in the first layers of VGG and
# U-Net, for the input and the output of a layer.
_CALL_BYTES_PER_PIXEL = CPU_CALL * 64 * 4 * 2
# Of one image by itself; ncnn also holds a padded copy, and what Winograd has transformed.
_IMAGE_BYTES_PER_PIXEL = 64 * 4 * 6
_CGROUPS = pathlib.Path("/sys/fs/cgroup")
_OWN = pathlib.Path("/proc/self/cgroup")


def precision_gain(computes_on_gpu: bool) -> str:
    """How much 16-bit precision gains here, in a sentence; measured in docs/performance.md."""
    if computes_on_gpu:
        return "here a GPU computes; bfloat16, float16 and tf32 are made for it"
    found = [name for flag, name in _BFLOAT16.items() if flag in _cpu_line("flags").split()]
    if found:
        gain = (
            "four to six times as fast as float32 in large convolutions"
            if "AMX" in found
            else "twice as fast as float32 on some of these and slower on others, which 'python -m "
            "pipeline doctor' measures"
        )
        return f"this machine's CPU has {' and '.join(found)}: bfloat16 is {gain}"
    return (
        "this machine's CPU has neither AVX512_BF16 nor AMX: bfloat16 and float16 gain nothing here"
    )


def cpu_name() -> str:
    """The CPU and the cores that this process may use, such as "2 cores of AMD EPYC"."""
    cores = usable_cores()
    model = _cpu_line("model name") or platform.processor() or platform.machine()
    return f"{cores} {'core' if cores == 1 else 'cores'} of {model}"


def nvidia_gpus() -> list[str]:
    """Names of the NVIDIA GPUs that the driver sees, even if no backend can use them."""
    found = (_read(path) for path in sorted(_NVIDIA.glob("gpus/*/information")))
    return [_after_colon("Model", text) or "NVIDIA GPU" for text in found]


def visible_gpus() -> list[str]:
    """Names of this machine's NVIDIA GPUs that CUDA_VISIBLE_DEVICES does not hide."""
    found = nvidia_gpus()
    wanted = os.environ.get("CUDA_VISIBLE_DEVICES")
    if wanted is None:
        return found
    return found[: len([each for each in wanted.split(",") if each.strip() not in ("", "-1")])]


def gpus_without_driver() -> int:
    """How many NVIDIA GPUs the PCI bus lists, if no NVIDIA driver is loaded; else 0."""
    if _NVIDIA.exists():
        return 0
    return sum(
        _read(path / "vendor").strip() == _NVIDIA_VENDOR
        and _read(path / "class").startswith(_DISPLAY)
        for path in _PCI.glob("*")
    )


def nvidia_driver() -> str:
    """The version of the NVIDIA driver, such as "570.86.15"; "" if no driver is loaded."""
    found = re.search(r"Kernel Module.*?\s(\d+\.\d[\d.]*)", _read(_NVIDIA / "version"))
    return found[1] if found else ""


def _cpu_line(name: str) -> str:
    return _after_colon(name, _read(_CPUINFO))


def _after_colon(name: str, text: str) -> str:
    lines = (line.partition(":") for line in text.splitlines())
    return next((value.strip() for key, _, value in lines if key.strip() == name), "")


def _read(path: pathlib.Path) -> str:
    try:
        return path.read_text()
    except OSError:  # the system is not Linux, or the driver is another
        return ""


def usable_cores() -> int:
    """The cores that this process may use: within its affinity and container quotas (cgroups)."""
    if hasattr(os, "sched_getaffinity"):
        cores = len(os.sched_getaffinity(0))
    else:
        cores = os.cpu_count() or 1
    shares = _limits("cpu", "cpu.max", ("cpu.cfs_quota_us", "cpu.cfs_period_us"))
    limited = [words for words in shares if len(words) == 2 and words[0] not in ("max", "-1")]
    quotas = [int(quota) / int(period) for quota, period in limited]
    return max(1, min([cores, *map(math.ceil, quotas)]))


def usable_memory() -> int:
    """Bytes of memory that this process may use: within its container limits (cgroups)."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    found = _limits("memory", "memory.max", ("memory.limit_in_bytes",))
    return min([memory, *(int(limit) for (limit,) in found if limit != "max")])


def threads_per_call(height: int, width: int) -> int:
    """How many threads a call of a model gets on a CPU: one, or all cores.

    With one thread per call there are as many calls at once as cores, and no core waits for another
    at the end of a layer. If these calls would hold more than a quarter of the memory, one call
    gets all cores.

    Args:
        height, width: of the images, in pixels.
    """
    cores = usable_cores()
    fits = cores * height * width * _CALL_BYTES_PER_PIXEL <= usable_memory() // 4
    return 1 if fits else cores


def images_at_once(height: int, width: int) -> int:
    """How many images a CPU computes at once if each gets one thread: one per core, or fewer.

    All of them together take at most a quarter of the memory.

    Args:
        height, width: of the images, in pixels.
    """
    fit = usable_memory() // 4 // (height * width * _IMAGE_BYTES_PER_PIXEL)
    return max(1, min(usable_cores(), fit))


def _limits(controller: str, name: str, old_names: tuple[str, ...]) -> Iterator[list[str]]:
    """The words in the limit files of each control group that this process belongs to.

    Args:
        controller: such as "cpu".
        name: of the file in cgroups version 2.
        old_names: of the files in cgroups version 1, which hold one word each.
    """
    for line in _read(_OWN).splitlines():
        _, controllers, group = line.split(":", 2)
        if not controllers:
            yield from _words_above(_CGROUPS, group, (name,))
        elif controller in controllers.split(","):
            yield from _words_above(_CGROUPS / controller, group, old_names)


def _words_above(root: pathlib.Path, group: str, files: tuple[str, ...]) -> Iterator[list[str]]:
    folder = root / group.lstrip("/")
    # A container may see the group's name on the host, while its files are at the root.
    for each in (folder, *folder.parents):
        words = [word for file in files for word in _read(each / file).split()]
        if words:
            yield words
        if each == root:
            return
