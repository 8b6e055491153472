"""Airflow itself loads the DAGs and runs their tasks. ``make test-deploy`` runs it with pytest.

It runs in an environment with Airflow and without this project, as on a real worker.
PIPELINE_PYTHON is the Python of an environment with this project.
"""

import os
import pathlib
import subprocess

import pytest
from airflow.dag_processing.dagbag import DagBag
from airflow.sdk.exceptions import AirflowException, AirflowFailException

ROOT = pathlib.Path(__file__).parents[3]
DAGS = ROOT / "deploy" / "airflow"
PYTHON = os.environ["PIPELINE_PYTHON"]
MAKE = """
import sys, encoder
from tests.conftest import small_network, write_image
import pathlib
folder = pathlib.Path(sys.argv[1])
small_network().save(folder / "small.keras")
encoder.extract(folder / "small.keras", folder / "bundle", preprocess="unit")
for seed in range(3):
    write_image(folder / "images" / f"{seed}.jpg", seed)
"""


@pytest.fixture(scope="session")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("made")
    subprocess.run([PYTHON, "-c", MAKE, folder], check=True, cwd=ROOT, env=project())
    return folder


def project():
    return {**os.environ, "PYTHONPATH": str(ROOT)}


@pytest.fixture(scope="session")
def bag():
    bag = DagBag(dag_folder=DAGS)
    assert bag.import_errors == {}
    return bag


@pytest.fixture
def place(made, tmp_path, monkeypatch):
    """An empty dataset, and the settings of a worker."""
    settings = {
        "PYTHON": PYTHON,
        "INPUTS": f"{made}/images/*.jpg",
        "ENCODER": str(made / "bundle"),
        "OUTPUT": str(tmp_path / "out"),
        "OPTIONS": "",
        "ALERT": f"tee -a {tmp_path / 'alerts'}",
    }
    for name, value in settings.items():
        monkeypatch.setenv(f"EMBED_IMAGES_{name}", value)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    return tmp_path


def edges(dag):
    return {(task.task_id, after) for task in dag.tasks for after in task.downstream_task_ids}


def test_tasks_and_their_order(bag):
    assert sorted(bag.dags) == ["embed_images_nightly", "embed_images_weekly"]
    nightly, weekly = (bag.dags[name] for name in sorted(bag.dags))
    assert edges(nightly) == {
        ("launch", "wait"),
        ("wait", "verify"),
        *((name, "alert") for name in ("launch", "wait", "verify")),
    }
    assert edges(weekly) == {
        ("compact", "prune"),
        ("prune", "verify"),
        *((name, "alert") for name in ("compact", "prune", "verify")),
    }
    for dag in (nightly, weekly):
        assert dag.max_active_runs == 1
        assert not dag.catchup
        assert dag.get_task("alert").trigger_rule == "one_failed"


def states(run):
    return {task.task_id: str(task.state) for task in run.get_task_instances()}


def test_a_night_and_a_week(bag, place):
    night = bag.dags["embed_images_nightly"].test()
    assert states(night) == {
        "launch": "success",
        "wait": "success",
        "verify": "success",
        "alert": "skipped",
    }
    assert str(night.state) == "success"
    assert len(list((place / "out" / "runs").iterdir())) == 1
    week = bag.dags["embed_images_weekly"].test()
    assert str(week.state) == "success"
    assert not (place / "alerts").exists()


def test_a_wrong_option_fails_at_once_and_alerts(bag, place, monkeypatch):
    monkeypatch.setenv("EMBED_IMAGES_OPTIONS", "--no-such-option")
    night = bag.dags["embed_images_nightly"].test()
    assert states(night) == {
        "launch": "failed",
        "wait": "upstream_failed",
        "verify": "upstream_failed",
        "alert": "failed",
    }
    assert str(night.state) == "failed"
    assert "embed_images_nightly" in (place / "alerts").read_text()


@pytest.mark.parametrize(
    ("script", "expected"),
    [
        ("exit 1", AirflowException),
        ("exit 2", AirflowFailException),
        ("kill -9 $$", AirflowException),
    ],
)
def test_exit_codes(bag, place, monkeypatch, script, expected):
    python = place / "python"
    python.write_text(f"#!/bin/sh\n{script}\n")
    python.chmod(0o755)
    monkeypatch.setenv("EMBED_IMAGES_PYTHON", str(python))
    with pytest.raises(AirflowException) as raised:
        bag.dags["embed_images_weekly"].get_task("compact").execute({})
    assert raised.type is expected


@pytest.mark.parametrize(
    ("status", "outcome"),
    [
        ('{"runs": [{"run_id": "mine"}]}', True),
        ('{"runs": [{"run_id": "other"}]}', False),
        (
            '{"runs": [], "submitted": [{"run_id": "mine", "state": "running", "detail": "",'
            ' "console": "https://console"}]}',
            False,
        ),
        (
            '{"runs": [], "submitted": [{"run_id": "mine", "state": "failed", "detail": "no quota",'
            ' "console": "https://console"}]}',
            "no quota",
        ),
    ],
)
def test_waiting(bag, place, monkeypatch, status, outcome):
    python = place / "python"
    python.write_text(f"#!/bin/sh\necho '{status}'\n")
    python.chmod(0o755)
    monkeypatch.setenv("EMBED_IMAGES_PYTHON", str(python))
    sensor = bag.dags["embed_images_nightly"].get_task("wait")
    monkeypatch.setattr(sensor, "run_id", "mine")
    if isinstance(outcome, bool):
        assert sensor.poke({}) is outcome
    else:
        with pytest.raises(AirflowFailException, match=outcome):
            sensor.poke({})
