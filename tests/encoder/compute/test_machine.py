import pytest

from encoder.compute import machine


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        ("fpu avx2 avx512f avx512_bf16", "has AVX512_BF16: bfloat16 is about twice as fast"),
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
