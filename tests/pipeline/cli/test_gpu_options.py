import re

import pytest

from encoder.compute import machine
from encoder.errors import InputError
from pipeline.cli.gpu_options import settings_for, threads_for
from pipeline.launch.beam_options import parse_beam_options
from pipeline.options import DEFAULT_BATCH_SIZE, GPU_BATCH_SIZE

DATAFLOW = ["--runner=DataflowRunner"]


@pytest.fixture
def here(monkeypatch):
    """A function that sets this machine's number of GPUs."""
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)

    def have(count):
        monkeypatch.setattr(machine, "nvidia_gpus", lambda: ["NVIDIA L4"] * count)

    return have


def test_without_a_gpu_nothing_is_changed(here):
    here(0)
    assert settings_for("", ["--streaming"]) == (DEFAULT_BATCH_SIZE, ["--streaming"], None)
    assert settings_for("", DATAFLOW) == (DEFAULT_BATCH_SIZE, DATAFLOW, None)
    assert settings_for("", ["--runner=FlinkRunner"]).batch_size == DEFAULT_BATCH_SIZE


@pytest.mark.parametrize("count", [1, 2])
def test_this_machine_and_dataflow_agree(here, count):
    """One process that loads the encoder once, and as many threads."""
    here(count)
    local = settings_for("", [])
    cloud = settings_for(f"nvidia-l4:{count}", DATAFLOW)
    assert local.batch_size == cloud.batch_size == GPU_BATCH_SIZE
    on_local = parse_beam_options(local.beam_options).get_all_options()
    in_cloud = parse_beam_options(cloud.beam_options).get_all_options()
    assert on_local["direct_running_mode"] == "multi_threading"  # gives one process
    assert in_cloud["experiments"] == ["no_use_multiple_sdk_containers"]
    assert on_local["direct_num_workers"] == threads_for(count)
    assert in_cloud["number_of_worker_harness_threads"] == threads_for(count)
    assert not in_cloud["dataflow_service_options"]  # all workers would get GPUs
    assert cloud.gpu.text == f"type:nvidia-l4;count:{count};install-nvidia-driver"


@pytest.mark.parametrize("option", ["machine_type", "worker_machine_type"])
def test_the_machine_type_is_that_of_the_workers_with_gpus(option):
    """A machine of such a family has GPUs, used or not; the other workers do without."""
    settings = settings_for("nvidia-l4", [*DATAFLOW, f"--{option}=g2-standard-8", "--region=x"])
    assert settings.gpu.machine_type == "g2-standard-8"
    assert parse_beam_options(settings.beam_options).get_all_options()["machine_type"] is None
    assert "--region=x" in settings.beam_options


def test_what_was_asked_for_stays(here):
    here(1)
    for asked in (["--direct_num_workers=3"], ["--direct_running_mode", "multi_processing"]):
        assert settings_for("", asked) == (GPU_BATCH_SIZE, asked, None)
    asked = [
        *DATAFLOW,
        "--number_of_worker_harness_threads=1",
        "--experiments=no_use_multiple_sdk_containers",
    ]
    assert settings_for("nvidia-l4", asked).beam_options == asked


def test_gpus_that_beam_was_asked_for_count_too():
    accelerator = "worker_accelerator=type:nvidia-tesla-t4;count:2;install-nvidia-driver"
    asked = [*DATAFLOW, f"--dataflow_service_options={accelerator}"]
    batch_size, given, gpu = settings_for("", asked)
    assert (batch_size, gpu) == (GPU_BATCH_SIZE, None)
    assert f"--number_of_worker_harness_threads={threads_for(2)}" in given


@pytest.mark.parametrize(
    ("gpu", "runner", "said"),
    [
        ("nvidia-l4", "FnApiRunner", "is for --runner=DataflowRunner; on this machine"),
        ("L4", "DataflowRunner", "--gpu is 'L4'; expected a type of accelerator"),
        ("nvidia-l4:0", "DataflowRunner", "--gpu is 'nvidia-l4:0'"),
        ("nvidia-l4;count:9", "DataflowRunner", "--gpu is 'nvidia-l4;count:9'"),
    ],
)
def test_wrong_wishes(gpu, runner, said):
    with pytest.raises(InputError, match=re.escape(said)):
        settings_for(gpu, [f"--runner={runner}"])


@pytest.mark.parametrize(("visible", "seen"), [("", 0), ("-1", 0), ("1", 1), ("0,1", 2)])
def test_gpus_that_are_hidden_do_not_count(here, monkeypatch, visible, seen):
    here(2)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert len(machine.visible_gpus()) == seen
