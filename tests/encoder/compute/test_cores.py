import os

import pytest

from encoder.compute import machine as machine_module
from encoder.compute.machine import threads_per_call, usable_cores, usable_memory


@pytest.fixture
def machine(tmp_path, monkeypatch):
    """16 cores, of which nothing is taken away yet; gives a function that writes a file."""
    monkeypatch.setattr(machine_module, "_CGROUPS", tmp_path / "cgroup")
    monkeypatch.setattr(machine_module, "_OWN", tmp_path / "own")
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(16)), raising=False)

    def write(name, text):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)

    return write


def test_all_cores_where_nothing_limits_them(machine):
    assert usable_cores() == 16
    machine("own", "0::/a/b\n")
    machine("cgroup/a/b/cpu.max", "max 100000\n")
    assert usable_cores() == 16


def test_affinity(machine, monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {3, 5})
    assert usable_cores() == 2


@pytest.mark.parametrize(("quota", "expected"), [("250000", 3), ("50000", 1), ("9900000", 16)])
@pytest.mark.parametrize("place", ["cgroup/a/b", "cgroup/a", "cgroup"])
def test_a_quota_of_any_group_around(machine, quota, expected, place):
    machine("own", "0::/a/b\n")
    machine(f"{place}/cpu.max", f"{quota} 100000\n")
    assert usable_cores() == expected


def test_the_first_version_of_control_groups(machine):
    machine("own", "4:memory:/x\n3:cpu,cpuacct:/x\n")
    machine("cgroup/cpu/x/cpu.cfs_period_us", "100000\n")
    machine("cgroup/cpu/x/cpu.cfs_quota_us", "-1\n")
    assert usable_cores() == 16
    machine("cgroup/cpu/x/cpu.cfs_quota_us", "400000\n")
    assert usable_cores() == 4


def test_memory(machine):
    whole = usable_memory()
    assert 1 << 28 < whole < 1 << 50
    machine("own", "0::/a/b\n")
    machine("cgroup/a/b/memory.max", "max\n")
    assert usable_memory() == whole
    machine("cgroup/a/memory.max", f"{1 << 27}\n")
    assert usable_memory() == 1 << 27


def test_memory_by_the_first_version_of_control_groups(machine):
    machine("own", "4:memory:/x\n3:cpu,cpuacct:/x\n")
    machine("cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n")
    assert usable_memory() < 1 << 50
    machine("cgroup/memory/x/memory.limit_in_bytes", f"{1 << 27}\n")
    assert usable_memory() == 1 << 27


def test_calls_side_by_side_must_fit_the_memory(machine, monkeypatch):
    monkeypatch.setattr(machine_module, "usable_memory", lambda: 16 << 30)
    assert threads_per_call(224, 224) == 1  # 16 calls of 0.2 GB
    assert threads_per_call(512, 512) == 16  # of 1.1 GB
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {3, 5})
    assert threads_per_call(512, 512) == 1


def test_this_machine():
    assert 1 <= usable_cores() <= (os.cpu_count() or 1)
