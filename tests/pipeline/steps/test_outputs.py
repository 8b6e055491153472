"""Outputs that steps share, storage settings in workers, and the log of changes."""

import importlib
import pickle
import pkgutil
from collections import Counter

import apache_beam as beam
import pytest
from apache_beam.pvalue import TaggedOutput

from encoder.storage.base import StorageSettings, configure, settings
from pipeline import steps
from pipeline.dataset.changes import HAD, HAS
from pipeline.runs.batches import SeenBatch, unpack
from pipeline.steps.outputs import LOGS, SeenLog, StorageDoFn, all_at_end

# They use no files.
WITHOUT_FILES = {"_Decide", "_Gather", "_SortOutcomes"}


@pytest.fixture
def plain_settings():
    configure(StorageSettings())
    yield
    configure(StorageSettings())


def test_a_worker_applies_the_settings_of_its_job(plain_settings):
    travelling = pickle.dumps(StorageDoFn(StorageSettings("mine", 7)))
    step = pickle.loads(travelling)
    assert settings() == StorageSettings(), "arriving changes nothing"
    step.setup()
    assert settings() == StorageSettings("mine", 7)


def test_every_step_that_touches_files_does():
    found = {}
    for module in pkgutil.iter_modules(steps.__path__):
        members = vars(importlib.import_module(f"pipeline.steps.{module.name}"))
        found |= {
            name: member
            for name, member in members.items()
            if isinstance(member, type) and issubclass(member, beam.DoFn)
        }
    assert len(found) > 8
    others = {name for name, step in found.items() if not issubclass(step, StorageDoFn)}
    assert others - {"DoFn"} == WITHOUT_FILES


def test_the_log_of_changes_gets_every_row_once():
    log, found = SeenLog(), []
    rows = [(f"/{number}.jpg", seen) for number in range(3000) for seen in (HAD, HAS)]
    for uri, seen in rows:
        found += log.add(uri, seen)
    early = len(found)
    found += log.rest()
    assert 0 < early < len(found)
    assert {output.tag for output in found} == {"seen"}
    logs = Counter()
    for output in found:
        number, batch = output.value
        logs.update((number, row) for row in unpack(batch, SeenBatch).rows)
    assert Counter(row for _, row in logs) == Counter(rows)
    assert {number for number, _ in logs} == set(range(LOGS))
    assert list(log.rest()) == []


def test_outputs_at_the_end_of_a_bundle():
    plain, tagged = all_at_end(["x", TaggedOutput("tag", "y")])
    assert plain.value == "x"
    assert (tagged.tag, tagged.value.value) == ("tag", "y")
