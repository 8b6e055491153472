import os

import pytest

from encoder.compute import machine
from encoder.compute.machine import images_at_once, threads_per_call, usable_cores, usable_memory


@pytest.fixture
def write_file(tmp_path, monkeypatch):
    """A function that writes files of cgroups, on a machine of 16 cores without limits."""
    monkeypatch.setattr(machine, "_CGROUPS", tmp_path / "cgroup")
    monkeypatch.setattr(machine, "_OWN", tmp_path / "own")
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(16)), raising=False)

    def write(name, text):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)

    return write


def test_all_cores_where_nothing_limits_them(write_file):
    assert usable_cores() == 16
    write_file("own", "0::/a/b\n")
    write_file("cgroup/a/b/cpu.max", "max 100000\n")
    assert usable_cores() == 16


def test_affinity(write_file, monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {3, 5})
    assert usable_cores() == 2


@pytest.mark.parametrize(("quota", "expected"), [("250000", 3), ("50000", 1), ("9900000", 16)])
@pytest.mark.parametrize("place", ["cgroup/a/b", "cgroup/a", "cgroup"])
def test_a_quota_of_any_group_around(write_file, quota, expected, place):
    write_file("own", "0::/a/b\n")
    write_file(f"{place}/cpu.max", f"{quota} 100000\n")
    assert usable_cores() == expected


def test_the_first_version_of_control_groups(write_file):
    write_file("own", "4:memory:/x\n3:cpu,cpuacct:/x\n")
    write_file("cgroup/cpu/x/cpu.cfs_period_us", "100000\n")
    write_file("cgroup/cpu/x/cpu.cfs_quota_us", "-1\n")
    assert usable_cores() == 16
    write_file("cgroup/cpu/x/cpu.cfs_quota_us", "400000\n")
    assert usable_cores() == 4


def test_memory(write_file):
    whole = usable_memory()
    assert 1 << 28 < whole < 1 << 50
    write_file("own", "0::/a/b\n")
    write_file("cgroup/a/b/memory.max", "max\n")
    assert usable_memory() == whole
    write_file("cgroup/a/memory.max", f"{1 << 27}\n")
    assert usable_memory() == 1 << 27


def test_memory_by_the_first_version_of_control_groups(write_file):
    write_file("own", "4:memory:/x\n3:cpu,cpuacct:/x\n")
    write_file("cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n")
    assert usable_memory() < 1 << 50
    write_file("cgroup/memory/x/memory.limit_in_bytes", f"{1 << 27}\n")
    assert usable_memory() == 1 << 27


def test_calls_side_by_side_must_fit_the_memory(write_file, monkeypatch):
    monkeypatch.setattr(machine, "usable_memory", lambda: 16 << 30)
    assert threads_per_call(224, 224) == 1  # 16 calls of 0.2 GB
    assert threads_per_call(512, 512) == 16  # 16 calls of 1.1 GB
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {3, 5})
    assert threads_per_call(512, 512) == 1


def test_images_at_once_must_fit_the_memory(write_file, monkeypatch):
    monkeypatch.setattr(machine, "usable_memory", lambda: 16 << 30)
    assert images_at_once(224, 224) == 16  # of 77 MB
    assert images_at_once(1024, 1024) == 2  # of 1.6 GB
    assert images_at_once(4096, 4096) == 1
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {3, 5, 7})
    assert images_at_once(224, 224) == 3


def test_this_machine():
    assert 1 <= usable_cores() <= (os.cpu_count() or 1)


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (
            "fpu avx2 avx512f avx512_bf16",
            "has AVX512_BF16: bfloat16 is twice as fast as float32 on some of these and slower",
        ),
        ("avx512_bf16 amx_bf16", "has AVX512_BF16 and AMX: bfloat16 is four to six"),
        ("fpu avx2 avx512f", "bfloat16 and float16 gain nothing here"),
    ],
)
def test_what_16_bits_gain(tmp_path, monkeypatch, flags, said):
    monkeypatch.setattr(machine, "_CPUINFO", tmp_path / "cpuinfo")
    (tmp_path / "cpuinfo").write_text(f"processor : 0\nflags\t\t: {flags}\nbugs :\n")
    assert said in machine.precision_gain(computes_on_gpu=False)


def test_where_a_gpu_computes():
    assert "a GPU computes" in machine.precision_gain(computes_on_gpu=True)


def test_where_the_system_does_not_say(tmp_path, monkeypatch):
    monkeypatch.setattr(machine, "_CPUINFO", tmp_path / "none")
    assert "gain nothing" in machine.precision_gain(computes_on_gpu=False)
    assert machine.cpu_name()


def test_the_name_of_the_cpu(tmp_path, monkeypatch):
    monkeypatch.setattr(machine, "_CPUINFO", tmp_path / "cpuinfo")
    monkeypatch.setattr(machine, "usable_cores", lambda: 16)
    (tmp_path / "cpuinfo").write_text("model\t: 1\nmodel name\t: AMD EPYC 9R14\n")
    assert machine.cpu_name() == "16 cores of AMD EPYC 9R14"


def test_gpus_that_the_driver_sees(tmp_path, monkeypatch):
    monkeypatch.setattr(machine, "_NVIDIA", tmp_path)
    assert machine.nvidia_gpus() == []
    assert machine.nvidia_driver() == ""
    for number in range(2):
        folder = tmp_path / "gpus" / f"0000:0{number}:00.0"
        folder.mkdir(parents=True)
        text = "Model: \t\t NVIDIA H100 80GB HBM3\nIRQ:   \t\t 33\n"
        (folder / "information").write_text(text)
    (tmp_path / "version").write_text(
        "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  570.86.15  Release Build\n"
        "GCC version:  gcc version 12.3.0\n"
    )
    assert machine.nvidia_gpus() == ["NVIDIA H100 80GB HBM3"] * 2
    assert machine.nvidia_driver() == "570.86.15"


def test_a_gpu_whose_driver_is_not_loaded(tmp_path, monkeypatch):
    monkeypatch.setattr(machine, "_NVIDIA", tmp_path / "driver")
    monkeypatch.setattr(machine, "_PCI", tmp_path / "pci")
    assert machine.gpus_without_driver() == 0
    for name, vendor, kind in (
        ("gpu", "0x10de", "0x030200"),
        ("sound of a GPU", "0x10de", "0x040300"),
        ("another maker's", "0x1002", "0x030000"),
    ):
        folder = tmp_path / "pci" / name
        folder.mkdir(parents=True)
        (folder / "vendor").write_text(vendor + "\n")
        (folder / "class").write_text(kind + "\n")
    assert machine.gpus_without_driver() == 1
    (tmp_path / "driver").mkdir()
    assert machine.gpus_without_driver() == 0
