import pytest

from encoder import machine


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        ("fpu avx2 avx512f avx512_bf16", "has AVX512_BF16: bfloat16 is about twice as fast"),
        ("avx512_bf16 amx_bf16", "has AVX512_BF16 and AMX: bfloat16 is about twice"),
        ("fpu avx2 avx512f", "bfloat16 and float16 gain nothing here"),
    ],
)
def test_what_16_bits_gain(tmp_path, monkeypatch, flags, said):
    monkeypatch.setattr("tensorflow.config.list_physical_devices", lambda kind: [])
    monkeypatch.setattr(machine, "_CPUINFO", tmp_path / "cpuinfo")
    (tmp_path / "cpuinfo").write_text(f"processor : 0\nflags\t\t: {flags}\nbugs :\n")
    assert said in machine.precision_gain()


def test_where_a_gpu_computes(monkeypatch):
    monkeypatch.setattr("tensorflow.config.list_physical_devices", lambda kind: [kind])
    assert "a GPU computes" in machine.precision_gain()


def test_where_the_system_does_not_say(tmp_path, monkeypatch):
    monkeypatch.setattr("tensorflow.config.list_physical_devices", lambda kind: [])
    monkeypatch.setattr(machine, "_CPUINFO", tmp_path / "none")
    assert "gain nothing" in machine.precision_gain()
