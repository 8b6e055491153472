"""GPUs of Dataflow's workers: the text that asks for them, and the machines that can have them."""

from __future__ import annotations

import re
from typing import NamedTuple

DRIVER = "install-nvidia-driver"

# Types of GPUs, and the machine types that Compute Engine attaches them to: the beginnings of their
# names, and one that exists. Without a machine type, Dataflow takes one that has no GPUs.
_N1 = (("n1-",), "n1-standard-8")
_MACHINES: dict[str, tuple[tuple[str, ...], str]] = {
    "nvidia-tesla-k80": _N1,
    "nvidia-tesla-p4": _N1,
    "nvidia-tesla-p100": _N1,
    "nvidia-tesla-t4": _N1,
    "nvidia-tesla-v100": _N1,
    "nvidia-l4": (("g2-",), "g2-standard-8"),
    "nvidia-rtx-pro-6000": (("g4-",), "g4-standard-48"),
    "nvidia-tesla-a100": (("a2-highgpu-", "a2-megagpu-"), "a2-highgpu-1g"),
    "nvidia-a100-80gb": (("a2-ultragpu-",), "a2-ultragpu-1g"),
    "nvidia-h100-80gb": (("a3-highgpu-", "a3-edgegpu-"), "a3-highgpu-1g"),
    "nvidia-h100-mega-80gb": (("a3-megagpu-",), "a3-megagpu-8g"),
    "nvidia-h200-141gb": (("a3-ultragpu-",), "a3-ultragpu-8g"),
    "nvidia-b200": (("a4-highgpu-",), "a4-highgpu-8g"),
}
# Names that people write, and Compute Engine does not have.
_MEANT = {
    "nvidia-k80": "nvidia-tesla-k80",
    "nvidia-p4": "nvidia-tesla-p4",
    "nvidia-p100": "nvidia-tesla-p100",
    "nvidia-t4": "nvidia-tesla-t4",
    "nvidia-v100": "nvidia-tesla-v100",
    "nvidia-tesla-l4": "nvidia-l4",
    "nvidia-a100": "nvidia-tesla-a100",
    "nvidia-tesla-a100-80gb": "nvidia-a100-80gb",
    "nvidia-h100": "nvidia-h100-80gb",
    "nvidia-tesla-h100": "nvidia-h100-80gb",
    "nvidia-h200": "nvidia-h200-141gb",
}
# The number of GPUs of machines whose names do not end with it, by the number of their cores.
_COUNTS = {
    "g2-standard-": {4: 1, 8: 1, 12: 1, 16: 1, 32: 1, 24: 2, 48: 4, 96: 8},
    "g4-standard-": {48: 1, 96: 2, 192: 4, 384: 8},
}


class Accelerator(NamedTuple):
    """The GPUs of one worker.

    Attributes:
        kind: the type, as Compute Engine names it.
        number: how many; None if the text does not say it.
        machine_type: of the worker; "" for Dataflow's choice.
        driver: whether Dataflow installs NVIDIA's driver.
    """

    kind: str
    number: int | None = 1
    machine_type: str = ""
    driver: bool = True

    @property
    def text(self) -> str:
        """The accelerator in the form of Dataflow's service option and of Beam's resource hint."""
        machine = f"machine_type:{self.machine_type};" if self.machine_type else ""
        return f"type:{self.kind};count:{self.number or 1};{machine}{DRIVER}"


def parse_accelerator(text: str, machine_type: str = "") -> Accelerator:
    """Parse "type:nvidia-l4;count:1;install-nvidia-driver".

    Args:
        text: what the user wrote after ``worker_accelerator=`` or ``accelerator=``.
        machine_type: of the worker, unless the text has one.
    """
    found = dict.fromkeys(("type", "count", "machine_type"), "")
    names = []
    for each in text.split(";"):
        name, _, value = each.partition(":")
        names.append(name)
        found[name] = value
    count = int(found["count"]) if re.fullmatch(r"[1-9]\d*", found["count"]) else None
    return Accelerator(found["type"], count, found["machine_type"] or machine_type, DRIVER in names)


def accelerator_problems(asked: Accelerator) -> list[str]:
    """What keeps a worker from computing on these GPUs: one sentence each, with what to do."""
    kind, count, machine_type, driver = asked
    if not kind.startswith("nvidia-"):
        return [
            f"{kind or 'nothing'!r} is no type of GPU that the encoder can use; expected one of "
            f"NVIDIA's, such as nvidia-l4"
        ]
    if kind in _MEANT:
        return [f"Compute Engine has no {kind}; take {_MEANT[kind]}"]
    problems = []
    if count is None or not driver:
        missing = [*(["count:N"] if count is None else []), *([] if driver else [DRIVER])]
        problems.append(
            f"the accelerator {kind} has no {' and no '.join(missing)}; quote the option, since "
            f"the shell ends a command at a semicolon: 'worker_accelerator={asked.text}'"
        )
    families, example = _MACHINES.get(kind, (("",), ""))
    if not machine_type.startswith(families):
        found = f"{machine_type} has none" if machine_type else "Dataflow's own choice has none"
        example = _with_gpus(families[0], count) or example
        problems.append(
            f"add --machine_type={example} or another {families[0]}… machine: {kind} needs it, "
            f"and {found}"
        )
    elif count not in (None, has := _count_of(machine_type) or count):
        problems.append(
            f"{machine_type} has {has} of {kind}, not {count}; take as many, or another machine"
        )
    return problems


def _with_gpus(family: str, count: int | None) -> str:
    """The smallest machine type of a family that has more than one GPU; "" if none is known."""
    counts = _COUNTS.get(f"{family}standard-", {}) if count != 1 else {}
    cores = sorted(cores for cores, has in counts.items() if has == count)
    return f"{family}standard-{cores[0]}" if cores else ""


def _count_of(machine_type: str) -> int | None:
    """The number of GPUs of a machine type that always has some; None if it is not known."""
    if found := re.search(r"-(\d+)g(?:-|$)", machine_type):
        return int(found[1])
    for family, counts in _COUNTS.items():
        cores = machine_type.removeprefix(family)
        if machine_type.startswith(family) and cores.isdecimal():
            return counts.get(int(cores))
    return None
