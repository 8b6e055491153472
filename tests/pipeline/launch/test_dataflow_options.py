"""What is refused before a job goes to Dataflow, without Beam and without network."""

import re

import pytest
from apache_beam.options.pipeline_options import PipelineOptions, _BeamArgumentParser

from encoder.errors import InputError
from pipeline.__main__ import main
from pipeline.launch.accelerators import Accelerator, accelerator_problems, parse_accelerator
from pipeline.launch.beam_options import _option_groups, parse_beam_options
from pipeline.launch.checks import check_command, check_places, check_values
from pipeline.launch.dataflow import FLAGS, LISTS, REGION_VARIABLE, TEXTS, flex_job, parse_words
from pipeline.launch.runners import runner_name
from pipeline.options import DATAFLOW

ENOUGH = {
    "runner": "DataflowRunner",
    "project": "proj",
    "region": "europe-west4",
    "temp_location": "gs://bucket/temp",
    "sdk_container_image": "europe-west4-docker.pkg.dev/proj/embed/worker:1",
}
L4 = Accelerator("nvidia-l4", 1, "g2-standard-8")


@pytest.fixture(autouse=True)
def no_region(monkeypatch):
    monkeypatch.delenv(REGION_VARIABLE, raising=False)


def words(**changes):
    return [f"--{name}={value}" for name, value in {**ENOUGH, **changes}.items() if value]


def refusal(given, gpu=None, wait=True):
    with pytest.raises(InputError) as refused:
        check_command(given, gpu, wait)
    return str(refused.value)


def test_the_names_are_beams():
    parser = _BeamArgumentParser(allow_abbrev=False)
    for group in _option_groups(PipelineOptions):
        group._add_argparse_args(parser)
    spelled = {
        action.dest: set(action.option_strings)
        for action in parser._actions
        if action.dest in {*TEXTS, *LISTS, *FLAGS}
    }
    expected = {
        name: {f"--{each}" for each in (name, *others)}
        for name, others in {**TEXTS, **LISTS, **FLAGS}.items()
    }
    assert spelled == expected


@pytest.mark.parametrize(
    "given",
    [
        ["--experiments=a,b", "--experiment=c"],
        ["--dataflow_service_options=enable_prime,worker_accelerator=type:x;count:1,y"],
        ["--resource_hint=min_ram=4GB"],
        ["--worker_machine_type", "n1-standard-4", "--num_workers=3"],
    ],
)
def test_values_are_read_as_beam_reads_them(given):
    ours, rest = parse_words(given)
    assert rest == []
    theirs = parse_beam_options(given).get_all_options()
    for name in LISTS:
        assert list(getattr(ours, name)) == (theirs[name] or []), name
    assert ours.machine_type == (theirs["machine_type"] or "")


def test_enough_is_accepted():
    check_command(words())
    check_command(words(), wait=False)
    check_command(words(), L4)
    check_command(words(temp_location="", staging_location="gs://bucket/staging"))
    check_command(words(sdk_container_image="", worker_harness_container_image="image"))
    check_command(words(template_location="gs://bucket/templates/embed"))
    check_values(parse_beam_options(words()).get_all_options())


def test_all_that_is_missing_is_said_at_once():
    said = refusal(["--runner=DataflowRunner"])
    for option in ("--project=", "--region=", "--temp_location=gs://", "--sdk_container_image="):
        assert f"add {option}" in said
    with pytest.raises(InputError, match="add --project="):
        check_values({"runner": "DataflowRunner"})


@pytest.mark.parametrize("name", [name for name in ENOUGH if name != "runner"])
def test_each_one_is_missed(name):
    assert f"add --{name}=" in refusal(words(**{name: ""}))


def test_the_region_may_be_in_gclouds_variable(monkeypatch):
    monkeypatch.setenv(REGION_VARIABLE, "europe-west4")
    check_command(words(region=""))


@pytest.mark.parametrize("name", ["dataflow", "DATAFLOWRUNNER", "Dataflow"])
def test_other_spellings_of_the_runner(name):
    full = f"apache_beam.runners.dataflow.{DATAFLOW}"
    assert runner_name(name) == runner_name(full) == DATAFLOW
    assert "add --project" in refusal([f"--runner={name}"])
    assert runner_name("direct") == "DirectRunner"
    assert runner_name("SomeOtherRunner") == "SomeOtherRunner"


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"temp_location": "/tmp/x"}, "--temp_location is '/tmp/x'; expected such as gs://BUCKET"),
        ({"temp_location": "gs://bucket"}, "expected such as gs://bucket/temp"),
        ({"staging_location": "s3://bucket/x"}, "--staging_location is 's3://bucket/x'"),
        ({"template_location": "template.json"}, "--template_location is 'template.json'"),
        ({"template_location": "gs://bucket/folder/"}, "is a folder; expected a file"),
        (
            {"template_location": "gs://bucket/folder/x", "dry_run": "True"},
            "leave --dry_run out, which writes nothing, or --template_location",
        ),
        ({"project": "123456"}, "--project is 123456, a number"),
        ({"project": "My Project"}, "--project is 'My Project'"),
        ({"job_name": "Embed_Images"}, "--job_name is 'Embed_Images'"),
        ({"num_workers": "5", "max_num_workers": "2"}, "--num_workers is 5, more than"),
        ({"max_num_workers": "0"}, "--max_num_workers is 0; expected 1 or more"),
        ({"worker_harness_container_image": "other"}, "--worker_harness_container_image out"),
    ],
)
def test_what_is_wrong(changes, said):
    assert said in refusal(words(**changes))


@pytest.mark.parametrize(
    "given",
    [
        ["--streaming"],
        ["--streaming=true"],
        ["--runner=DataflowRunner", "--streaming", "--project=p"],
        ["--update"],
        ["--create_from_snapshot=x"],
    ],
)
def test_a_run_ends(given):
    assert "is for streaming jobs" in refusal(given)


@pytest.mark.parametrize(
    ("kind", "number", "machine_type", "said"),
    [
        ("nvidia-l4", 1, "", "add --machine_type=g2-standard-8 or another g2-"),
        ("nvidia-l4", 2, "", "add --machine_type=g2-standard-24 "),
        ("nvidia-l4", 1, "n1-standard-8", "n1-standard-8 has none"),
        ("nvidia-l4", 2, "g2-standard-8", "g2-standard-8 has 1 of nvidia-l4, not 2"),
        ("nvidia-tesla-t4", 1, "", "add --machine_type=n1-standard-8"),
        ("nvidia-tesla-v100", 1, "e2-standard-4", "another n1-"),
        ("nvidia-tesla-a100", 1, "", "add --machine_type=a2-highgpu-1g"),
        ("nvidia-tesla-a100", 1, "a2-ultragpu-1g", "another a2-highgpu-"),
        ("nvidia-a100-80gb", 1, "a2-highgpu-1g", "another a2-ultragpu-"),
        ("nvidia-h100-80gb", 1, "a2-highgpu-1g", "another a3-highgpu-"),
        ("nvidia-h100-80gb", 1, "a3-highgpu-8g", "a3-highgpu-8g has 8 of nvidia-h100-80gb, not 1"),
        ("nvidia-h200-141gb", 8, "", "add --machine_type=a3-ultragpu-8g"),
        ("nvidia-h100", 1, "a3-highgpu-1g", "take nvidia-h100-80gb"),
        ("nvidia-t4", 1, "n1-standard-4", "take nvidia-tesla-t4"),
        ("tpu-v5-lite-device", 1, "ct5lp-hightpu-1t", "is no type of GPU"),
        ("tpu-v6e-slice", 1, "", "is no type of GPU"),
    ],
)
def test_gpus_and_their_machines(kind, number, machine_type, said):
    assert said in refusal(words(), Accelerator(kind, number, machine_type))
    # The same for GPUs of all workers.
    option = f"worker_accelerator=type:{kind};count:{number};install-nvidia-driver"
    given = words(dataflow_service_options=option, machine_type=machine_type)
    assert said in refusal(given)


@pytest.mark.parametrize(
    ("kind", "number", "machine_type"),
    [
        ("nvidia-l4", 1, "g2-standard-4"),
        ("nvidia-l4", 4, "g2-standard-48"),
        ("nvidia-l4", 1, "g2-custom-8-32768"),
        ("nvidia-tesla-t4", 4, "n1-standard-16"),
        ("nvidia-tesla-a100", 16, "a2-megagpu-16g"),
        ("nvidia-a100-80gb", 2, "a2-ultragpu-2g"),
        ("nvidia-h100-80gb", 8, "a3-highgpu-8g"),
        ("nvidia-newer", 3, ""),  # Google adds types; Dataflow knows them first
    ],
)
def test_gpus_that_fit_their_machines(kind, number, machine_type):
    accelerator = Accelerator(kind, number, machine_type)
    assert accelerator_problems(accelerator) == []
    assert parse_accelerator(accelerator.text) == accelerator


def test_a_semicolon_that_the_shell_took():
    """Without quotes, the option ends after the type."""
    option, machine = "worker_accelerator=type:nvidia-l4", "g2-standard-8"
    given = words(dataflow_service_options=option, machine_type=machine)
    assert "has no count:N and no install-nvidia-driver; quote the option" in refusal(given)
    given = words(dataflow_service_options=f"{option};count:1", machine_type=machine)
    assert "has no install-nvidia-driver; quote the option" in refusal(given)


def test_gpus_are_asked_for_once():
    option = f"worker_accelerator={L4.text}"
    assert "are both asked for" in refusal(words(dataflow_service_options=option), L4)
    assert "leave --flexrs_goal out" in refusal(words(flexrs_goal="COST_OPTIMIZED"), L4)


@pytest.mark.parametrize("runner", ["FnApiRunner", "direct", "FlinkRunner"])
def test_what_only_dataflow_has(runner):
    assert f"a job on {runner_name(runner)} needs this process" in refusal(
        [f"--runner={runner}"], wait=False
    )
    assert "--template_location is for" in refusal(
        [f"--runner={runner}", "--template_location=gs://bucket/x/y"]
    )


@pytest.mark.parametrize("option", ["--encoder", "--output", "--input photos"])
def test_workers_reach_only_buckets(option):
    paths = {"--encoder": "gs://b/e", "--output": "gs://b/o", "--input photos": "gs://b/p"}
    check_places(DATAFLOW, "gs://b/e", "gs://b/o", ["gs://b/p", "gs://b/q/*.jpg"])
    paths[option] = "photos"
    encoder, output, *inputs = paths.values()
    with pytest.raises(InputError, match=re.escape(f"{option}: workers on Dataflow can't reach")):
        check_places(DATAFLOW, encoder, output, inputs)


def test_plan_runs_here(capsys):
    """Beam reads no sets of strings from Dataflow, in which the forecast comes back."""
    paths = ["--input=gs://b/p", "--encoder=gs://b/e", "--output=gs://b/o"]
    assert main(["plan", *paths, *words()]) == 2
    assert "plan runs on this machine" in capsys.readouterr().err


def test_the_file_of_a_flex_template():
    place = "gs://dataflow-staging-x/staging/template_launches/2026-11-27_01_02_03-4/job_object"
    assert flex_job(place) == "2026-11-27_01_02_03-4"
    assert parse_words([f"--template_location={place}"])[0].is_template is False
    assert flex_job("gs://bucket/templates/embed") == ""
