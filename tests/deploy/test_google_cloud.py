"""The scripts for Google Cloud and for the image, with recorders in place of gcloud and docker.

Neither a project nor a Docker engine is there: what gcloud itself says of these commands was not
seen.
"""

import json
import os
import pathlib
import re
import shutil
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).parents[2]
RECORDER = """#!{python}
import json, os, pathlib, sys
words = [pathlib.Path(sys.argv[0]).name, *sys.argv[1:]]
body = [w for flag, w in zip(words, words[1:]) if flag == "--message-body-from-file"]
text = pathlib.Path(body[0]).read_text() if body else ""
if "-" in words:
    text = sys.stdin.read()
with open(os.environ["CALLS"], "a") as calls:
    calls.write(json.dumps([words, text]) + "\\n")
if "imagetools" in words:
    print(os.environ.get("DIGEST", "sha256:" + "ab" * 32))
if "describe" in words or "list" in words:
    there = "THERE" in os.environ
    print("something" if there else "", end="")
    sys.exit(0 if there or "list" in words else 1)
"""
PROJECT = {
    "PROJECT": "proj",
    "REGION": "europe-west4",
    "IMAGES": "my-images",
    "EMAIL": "ops@example.org",
    "BILLING_ACCOUNT": "0X-0X",
    "BUDGET": "100EUR",
}


@pytest.fixture
def checkout(tmp_path):
    """A copy of what the scripts read, where they may write."""
    folder = tmp_path / "checkout"
    for name in ("deploy", "encoder", "pipeline"):
        skip = shutil.ignore_patterns("__pycache__", "digests.env*")
        shutil.copytree(ROOT / name, folder / name, ignore=skip)
    shutil.copy(ROOT / "Dockerfile", folder)
    for name in ("gcloud", "docker"):
        path = tmp_path / "bin" / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(RECORDER.format(python=sys.executable))
        path.chmod(0o755)
    return folder


def run(checkout, script, *words, code=0, **variables):
    """Run a script. Returns the calls of gcloud and docker with their input, and the errors."""
    record = checkout.parent / "calls"
    record.unlink(missing_ok=True)
    environment = {
        **os.environ,
        **variables,
        "PATH": f"{checkout.parent / 'bin'}:{os.environ['PATH']}",
        "PYTHON": sys.executable,
        "PYTHONPATH": str(checkout),
        "CALLS": str(record),
    }
    command = [checkout / "deploy" / script, *words]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == code, done.stderr
    lines = record.read_text().splitlines() if record.exists() else []
    return [json.loads(line) for line in lines], done.stderr


def option(words, name):
    return words[words.index(name) + 1]


def test_rights(checkout):
    calls, _ = run(checkout, "gcloud/setup.sh", **PROJECT)
    given = set()
    for words, _ in calls:
        if "add-iam-policy-binding" in words:
            who = option(words, "--member").split(":")[1].split("@")[0]
            given.add((who, words[words.index("add-iam-policy-binding") + 1].split("@")[0],
                       option(words, "--role")))  # fmt: skip
    worker, scheduler = "embed-images-worker", "embed-images-scheduler"
    assert given == {
        (worker, "proj", "roles/dataflow.worker"),
        (worker, "proj", "roles/dataflow.admin"),
        (worker, worker, "roles/iam.serviceAccountUser"),
        (worker, "gs://my-images", "roles/storage.objectViewer"),
        (worker, "gs://proj-embeddings", "roles/storage.objectUser"),
        (worker, "gs://proj-embed-images-temp", "roles/storage.objectUser"),
        (worker, "embed-images", "roles/artifactregistry.reader"),
        (scheduler, "proj", "roles/dataflow.developer"),
        (scheduler, worker, "roles/iam.serviceAccountUser"),
        (scheduler, "gs://proj-embed-images-temp", "roles/storage.objectViewer"),
        (scheduler, "embed-images-upkeep", "roles/run.invoker"),
    }


def test_what_is_made(checkout):
    calls, _ = run(checkout, "gcloud/setup.sh", **PROJECT)
    texts = [" ".join(words) for words, _ in calls]
    made = [text for text in texts if re.search(r"\bcreate\b", text)]
    for what in (
        "artifacts repositories create embed-images",
        "storage buckets create gs://proj-embeddings",
        "storage buckets create gs://proj-embed-images-temp",
        "iam service-accounts create embed-images-worker",
        "iam service-accounts create embed-images-scheduler",
        "scheduler jobs create http embed-images-nightly",
        "run jobs create embed-images-upkeep",
        "scheduler jobs create http embed-images-weekly",
        "monitoring policies create",
        "billing budgets create",
    ):
        assert sum(what in text for text in made) == 1, what
    (body,) = [text for words, text in calls if "--message-body-from-file" in words]
    assert "PROJECT" not in body
    assert json.loads(body)["launchParameter"]["parameters"] == {
        "input": "gs://my-images/photos",
        "encoder": "gs://proj-embeddings/encoders/vgg16",
        "output": "gs://proj-embeddings/photos",
    }
    (template,) = [text for words, text in calls if words[-1].endswith("template.json")]
    image = "europe-west4-docker.pkg.dev/proj/embed-images/embed-images:launcher"
    assert json.loads(template)["image"] == image
    (build,) = [words for words, _ in calls if words[:3] == ["docker", "buildx", "build"]]
    assert "--push" in build
    assert option(build, "--tag") == image


def test_a_second_call_makes_nothing_again(checkout):
    calls, _ = run(checkout, "gcloud/setup.sh", **PROJECT, THERE="yes")
    assert not [words for words, _ in calls if "create" in words]


def test_the_upkeep_on_cloud_run_stops_at_the_first_failure(checkout, tmp_path):
    """Its shell command, run here with a recorder in place of Python."""
    calls, _ = run(checkout, "gcloud/setup.sh", **PROJECT)
    (words,) = [words for words, _ in calls if "--task-timeout" in words]
    _, flag, script, output = re.split(r"\^\|\^|\|", option(words, "--args"), maxsplit=0)[0:4]
    assert (flag, output) == ("-c", "gs://proj-embeddings/photos")
    python = tmp_path / "bin" / "python"
    python.write_text(f'#!/bin/sh\necho "$*" >> {tmp_path}/python-calls\nexit $CODE\n')
    python.chmod(0o755)
    for code, count in (("0", 3), ("1", 1)):
        (tmp_path / "python-calls").unlink(missing_ok=True)
        environment = {"PATH": f"{tmp_path / 'bin'}:/usr/bin:/bin", "CODE": code}
        command = [option(words, "--command"), flag, script, output]
        done = subprocess.run(command, env=environment, check=False)
        assert str(done.returncode) == code
        assert len((tmp_path / "python-calls").read_text().splitlines()) == count


def test_a_missing_setting_is_named(checkout):
    for name in ("PROJECT", "REGION", "IMAGES", "EMAIL"):
        others = {key: value for key, value in PROJECT.items() if key != name}
        calls, err = run(checkout, "gcloud/setup.sh", code=1, **others)
        assert f"{name}:" in err
        assert not calls


def test_the_image_is_built_from_digests(checkout):
    calls, err = run(checkout, "build.sh", "cpu", "host/embed-images:cpu", "--push")
    digest = "sha256:" + "ab" * 32
    (build,) = [words for words, _ in calls if words[:3] == ["docker", "buildx", "build"]]
    arguments = dict(word.split("=", 1) for word in build if "=" in word and "@" in word)
    assert arguments == {
        "BEAM_IMAGE": f"apache/beam_python3.11_sdk:2.77.0@{digest}",
        "BASE_IMAGE": f"python:3.11-slim-bookworm@{digest}",
        "LAUNCHER_IMAGE": "gcr.io/dataflow-templates-base/python311-template-launcher-base:latest"
        f"@{digest}",
    }
    assert build[-2:] == ["--push", "."]
    calls, _ = run(checkout, "build.sh", "gpu", "host/embed-images:gpu", DIGEST="sha256:other")
    assert len(calls) == 1, "digests are looked up once, and kept"
    calls, err = run(checkout, "build.sh", "digests", code=1, DIGEST="sha256:other")
    assert "expected sha256: and 64 hex digits" in err
    assert digest in (checkout / "deploy/image/digests.env").read_text()


@pytest.mark.parametrize("words", [[], ["worker"], ["cpu"], ["template", "proj"], ["digests", "x"]])
def test_a_wrong_command_line(checkout, words):
    calls, err = run(checkout, "build.sh", *words, code=2)
    assert err.startswith("error: ")
    assert not calls
