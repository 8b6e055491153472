"""What this machine computes fast."""

from __future__ import annotations

import pathlib

_CPUINFO = pathlib.Path("/proc/cpuinfo")
_BFLOAT16 = {"avx512_bf16": "AVX512_BF16", "amx_bf16": "AMX"}


def precision_gain() -> str:
    """What 16 bits gain here, in a sentence; see docs/performance.md for what was measured."""
    import tensorflow as tf

    if tf.config.list_physical_devices("GPU"):
        return "here a GPU computes; bfloat16 and float16 are made for it"
    found = [name for flag, name in _BFLOAT16.items() if flag in _cpu_flags()]
    if found:
        return (
            f"this machine's CPU has {' and '.join(found)}: bfloat16 is about twice as fast as "
            "float32 in large convolutions; float16 is not faster"
        )
    return (
        "this machine's CPU has neither AVX512_BF16 nor AMX: bfloat16 and float16 gain nothing here"
    )


def _cpu_flags() -> set[str]:
    try:
        lines = _CPUINFO.read_text().splitlines()
    except OSError:  # another system than Linux
        return set()
    flags = (line.partition(":")[2].split() for line in lines if line.startswith("flags"))
    return set(next(flags, []))
