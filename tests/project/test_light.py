"""Small commands answer at once, because each command imports only what it needs."""

import re
import subprocess
import sys

import pytest

from pipeline.__main__ import main

TENSORFLOW = {"tensorflow", "keras"}
HEAVY = {*TENSORFLOW, "apache_beam", "pyarrow", "pandas", "PIL", "numpy", "google.cloud"}


def imported(*words):
    """The modules that a command imports, as Python reports them."""
    command = [sys.executable, "-X", "importtime", "-m", *map(str, words)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return set(re.findall(r"^import time:.*\| +(\S+)$", done.stderr, re.M))


@pytest.fixture(scope="module")
def job(small_bundle, photo_folder, tmp_path_factory):
    """The options of a run over a dataset that is up to date."""
    output = tmp_path_factory.mktemp("light") / "out"
    paths = {"--input": photo_folder, "--encoder": small_bundle, "--output": output}
    options = [str(word) for pair in paths.items() for word in pair]
    assert main(["run", *options]) == 0
    return options


@pytest.mark.parametrize(
    "words",
    [
        "pipeline --help",
        "pipeline run --help",
        "pipeline plan --help",
        "pipeline status --help",
        "encoder --help",
        "encoder inspect --help",
    ],
)
def test_help(words):
    names = imported(*words.split())
    assert "argparse" in names
    assert not names & HEAVY


@pytest.mark.parametrize("option", [(), ("--openmetrics",)])
def test_status(job, option):
    names = imported("pipeline", "status", job[-1], *option)
    assert "pipeline.upkeep.status" in names
    assert not names & HEAVY


@pytest.mark.parametrize("command", ["run", "plan"])
def test_with_nothing_to_do(job, command):
    names = imported("pipeline", command, *job)
    assert "apache_beam" in names
    assert not names & TENSORFLOW


def test_a_run_that_ncnn_computes(small_bundle, photo_folder, tmp_path):
    names = imported(
        *("pipeline", "run", "--input", photo_folder, "--encoder", small_bundle),
        *("--output", tmp_path / "out", "--engine", "ncnn"),
    )
    assert {"ncnn", "apache_beam"} <= names
    assert not names & TENSORFLOW
