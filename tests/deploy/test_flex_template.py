"""The Flex Template: its metadata follow the parser, and a launch gives the options back."""

import json
import pathlib
import re

import pytest
from google.cloud.dataflow_v1beta3.types import (
    ContainerSpec,
    LaunchFlexTemplateRequest,
    TemplateMetadata,
)

from deploy.flex_template import launch, metadata
from pipeline.cli.parser import build_parser

ROOT = pathlib.Path(__file__).parents[2]
ENTRIES = {entry["name"]: entry for entry in metadata.metadata()["parameters"]}
# A value of each parameter, and what the parser makes of it.
VALUES = {
    "input": ("gs://b/a,b/*.jpg|s3://c/d=e/*.png", ["gs://b/a,b/*.jpg", "s3://c/d=e/*.png"]),
    "include": ("*.ppm|a b/*.x", ["*.ppm", "a b/*.x"]),
    "exclude": ("@eaDir", ["@eaDir"]),
    "allow_root": ("gs://b/photos", ["gs://b/photos"]),
    "uri_column": ("path", "path"),
    "keep": ("label,split", ["label,split"]),
    "column_type": ("id=int64|n=string", [("id", "int64"), ("n", "string")]),
    "list_delimiter": ("tab", "\t"),
    "list_quoting": ("none", "none"),
    "list_encoding": ("latin-1", "latin-1"),
    "log_format": ("json", "json"),
    "image_feature": ("image/encoded", "image/encoded"),
    "id_feature": ("image/filename", "image/filename"),
    "encoder": ("gs://b/vgg16", "gs://b/vgg16"),
    "output": ("gs://b/out", "gs://b/out"),
    "batch_size": ("16", 16),
    "reads_in_flight": ("64", 64),
    "read_timeout": ("12.5", 12.5),
    "decode_timeout": ("60", 60.0),
    "max_failure_ratio": ("0.25", 0.25),
    "allow_empty": ("true", True),
    "allow_deletes": ("false", False),
    "retry_failures": ("true", True),
    "check_content": ("5%", 0.05),
    "max_pixels": ("1000000", 1_000_000),
    "max_bytes": ("1000", 1000),
    "allow_truncated": ("true", True),
    "engine": ("keras", "keras"),
    "trust": ("false", False),
    "custom_objects": ("my_layers|others", ["my_layers", "others"]),
    "gpu": ("nvidia-l4:2", "nvidia-l4:2"),
    "user_project": ("payer", "payer"),
    "request_deadline": ("60", 60.0),
}
WRONG = {
    "input": "photos/",
    "encoder": "/srv/vgg16",
    "output": "gs://a|gs://b",
    "batch_size": "0",
    "max_failure_ratio": "50%",
    "allow_empty": "yes",
    "check_content": "some",
    "column_type": "id=integer",
    "list_quoting": "no",
    "gpu": "nvidia-l4:0",
    "sdk_container_image": "--runner=x",
}


def parse(line):
    return build_parser().parse_known_args(line)


def test_metadata_are_up_to_date():
    assert json.loads(metadata.FILE.read_text()) == metadata.metadata(), (
        "the options have changed: run python -m deploy.flex_template.metadata"
    )


def test_dataflow_knows_every_field():
    TemplateMetadata.from_json(metadata.FILE.read_text(), ignore_unknown_fields=False)
    spec = ContainerSpec.from_json(
        json.dumps(metadata.specification("host/embed-images:1")), ignore_unknown_fields=False
    )
    assert spec.default_environment.sdk_container_image == spec.image == "host/embed-images:1"
    assert len(spec.metadata.parameters) == len(VALUES) + 1


def test_every_parameter_has_a_text_and_a_value_here():
    assert {*VALUES, "sdk_container_image"} == set(ENTRIES)
    required = {name for name, entry in ENTRIES.items() if not entry["isOptional"]}
    assert required == {"input", "encoder", "output"}
    for entry in ENTRIES.values():
        assert entry["helpText"][0].isupper()
        assert "%(" not in entry["helpText"]


@pytest.mark.parametrize("name", VALUES)
def test_patterns_take_what_the_parser_takes(name):
    value, parsed = VALUES[name]
    (pattern,) = ENTRIES[name]["regexes"]
    assert re.search(pattern, value)
    line = launch.options_of([f"--{metadata_name}={text}" for metadata_name, text in pairs(name)])
    assert getattr(parse(line)[0], name) == parsed


def pairs(name):
    """A parameter, with those that are required."""
    return {each: VALUES[each][0] for each in ("input", "encoder", "output", name)}.items()


@pytest.mark.parametrize("name", WRONG)
def test_patterns_refuse(name):
    (pattern,) = ENTRIES[name]["regexes"]
    assert not re.search(pattern, WRONG[name])


@pytest.mark.parametrize("name", [name for name in ENTRIES if "defaultValue" in ENTRIES[name]])
def test_defaults_are_those_of_the_parser(name):
    entry = ENTRIES[name]
    required = [f"--{each}={VALUES[each][0]}" for each in ("input", "encoder", "output")]
    without = parse(launch.options_of(required))[0]
    with_it = parse(launch.options_of([*required, f"--{name}={entry['defaultValue']}"]))[0]
    assert getattr(with_it, name) == getattr(without, name)
    assert re.search(entry["regexes"][0], entry["defaultValue"])


def test_a_launch_adds_runner_and_image_and_does_not_wait():
    words = ["--encoder=gs://b/e", "--project=p", "--experiments=a", "--experiments=b", "--keep="]
    line = launch.options_of(words, "host/image:1")
    assert line[0] == "run"
    assert line[1:5] == ["--encoder=gs://b/e", *words[1:4]]
    assert {"--runner=DataflowRunner", "--sdk_container_image=host/image:1", "--no-wait"} == set(
        line[5:]
    )
    mine = ["--runner=DataflowRunner", "--sdk_container_image=other/image:2"]
    assert launch.options_of(mine, "host/image:1") == ["run", *mine, "--no-wait"]


def test_a_flag_with_another_value():
    with pytest.raises(ValueError, match="allow_empty is 'yes'; expected true or false"):
        launch.options_of(["--allow_empty=yes"])


def test_the_separator_is_one_fact():
    """launch.py is alone in its image."""
    assert launch.SEPARATOR == metadata.SEPARATOR
    assert launch.IMAGE in (ROOT / "Dockerfile").read_text()


def test_the_scheduled_launch_is_a_request_that_dataflow_knows():
    text = (ROOT / "deploy" / "gcloud" / "launch.json").read_text()
    LaunchFlexTemplateRequest.from_json(text, ignore_unknown_fields=False)
    body = json.loads(text)["launchParameter"]
    for name, value in body["parameters"].items():
        assert re.search(ENTRIES[name]["regexes"][0], value), name
