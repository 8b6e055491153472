"""What this machine has to compute with, as far as its system says so without a backend."""

from __future__ import annotations

import pathlib
import platform
import re

from encoder.compute.cores import usable_cores

_CPUINFO = pathlib.Path("/proc/cpuinfo")
_NVIDIA = pathlib.Path("/proc/driver/nvidia")
_PCI = pathlib.Path("/sys/bus/pci/devices")
_NVIDIA_VENDOR, _DISPLAY = "0x10de", "0x03"  # a maker and a kind of device, as PCI numbers them
_BFLOAT16 = {"avx512_bf16": "AVX512_BF16", "amx_bf16": "AMX"}


def precision_gain(computes_on_gpu: bool) -> str:
    """What 16 bits gain here, in a sentence; see docs/performance.md for what was measured."""
    if computes_on_gpu:
        return "here a GPU computes; bfloat16, float16 and tf32 are made for it"
    found = [name for flag, name in _BFLOAT16.items() if flag in _cpu_line("flags").split()]
    if found:
        times = "four to six times" if "AMX" in found else "about twice"
        return (
            f"this machine's CPU has {' and '.join(found)}: bfloat16 is {times} as fast as "
            "float32 in large convolutions; float16 is not faster"
        )
    return (
        "this machine's CPU has neither AVX512_BF16 nor AMX: bfloat16 and float16 gain nothing here"
    )


def cpu_name() -> str:
    """Such as "2 cores of AMD EPYC"; the cores are those that this process may use."""
    cores = usable_cores()
    model = _cpu_line("model name") or platform.processor() or platform.machine()
    return f"{cores} {'core' if cores == 1 else 'cores'} of {model}"


def nvidia_gpus() -> list[str]:
    """Names of the NVIDIA GPUs that the driver sees, whether or not a backend can use them."""
    found = (_read(path) for path in sorted(_NVIDIA.glob("gpus/*/information")))
    return [_after_colon("Model", text) or "NVIDIA GPU" for text in found]


def gpus_without_driver() -> int:
    """How many NVIDIA GPUs are on the bus while no driver of theirs is loaded."""
    if _NVIDIA.exists():
        return 0
    return sum(
        _read(path / "vendor").strip() == _NVIDIA_VENDOR
        and _read(path / "class").startswith(_DISPLAY)
        for path in _PCI.glob("*")
    )


def nvidia_driver() -> str:
    """The version of the NVIDIA driver, such as "570.86.15"; empty where there is none."""
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
    except OSError:  # another system than Linux, or another driver
        return ""
