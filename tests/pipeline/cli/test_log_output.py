"""Log messages as lines for people, and as JSON."""

import json
import logging
import sys

import pytest

from pipeline import logs
from pipeline.cli.log_output import AsJson, ForPeople, is_wanted
from pipeline.logs import name_run, run_logger


@pytest.fixture(autouse=True)
def run_name(monkeypatch):
    monkeypatch.setattr(logs, "_run_id", "")


def record_of(name, level, message, *words, error=None):
    return logging.LogRecord(name, level, "file.py", 1, message, words, error)


ENTRY = (
    "severity: INFO timestamp {   seconds: 1795816955   nanos: 263797044 } message: "
    '"wrote 2 embeddings to \\"a\\\\nb\\" run=night" instruction_id: "bundle_3" log_location: '
    '"/usr/lib/python3/site-packages/pipeline/steps/write.py:233" thread: "Thread-5" '
)


@pytest.mark.parametrize(
    ("name", "level", "message", "wanted"),
    [
        ("pipeline.steps.write", logging.INFO, "wrote", True),
        ("encoder.storage.gcs.client", logging.INFO, "a request is repeated", True),
        ("apache_beam.runners.dataflow.dataflow_runner", logging.INFO, "JOB_STATE_RUNNING", True),
        ("apache_beam.typehints.native_type_compatibility", logging.INFO, "Converting", False),
        ("encoders_of_others", logging.INFO, "x", False),
        ("google.auth", logging.WARNING, "no project", True),
        ("root", logging.WARNING, "Resource module is not available for …", False),
        ("root", logging.INFO, ENTRY, True),
        ("root", logging.INFO, ENTRY.replace("site-packages/pipeline", "apache_beam"), False),
        ("root", logging.INFO, "severity: no such thing", False),
        ("apache_beam.runners.portability.local_job_service", 20, "Worker: " + ENTRY, True),
    ],
)
def test_which_messages_are_shown(name, level, message, wanted):
    assert is_wanted(record_of(name, level, "%s", message)) is wanted


def test_a_message_of_a_worker_process():
    record = record_of("root", logging.INFO, "%s", ENTRY)
    assert is_wanted(record)
    line = json.loads(AsJson(tracebacks=False).format(record))
    assert line["logger"] == "pipeline.steps.write"
    assert line["message"] == 'wrote 2 embeddings to "a\\nb"'
    assert line["run_id"] == "night"


def test_each_message_carries_its_run(caplog):
    logger = run_logger("pipeline.test")
    with caplog.at_level(logging.INFO):
        logger.info("before %d", 1)
        name_run("night")
        logger.info("after %d %%", 2)
    before, after = caplog.records
    assert before.getMessage() == "before 1"
    assert (after.getMessage(), after.run_id) == ("after 2 % run=night", "night")
    assert json.loads(AsJson(tracebacks=False).format(after))["message"] == "after 2 %"


def test_lines_for_people():
    line = ForPeople().format(record_of("pipeline.x", logging.INFO, "%d parts run=night", 3))
    assert line[8:] == " 3 parts"
    line = ForPeople().format(record_of("google.auth", logging.WARNING, "no project"))
    assert line[8:] == " warning: google.auth: no project"


def test_json_is_one_line_whatever_a_name_is():
    try:
        raise OSError("two\nlines")
    except OSError:
        error = sys.exc_info()
    record = record_of("pipeline.x", logging.ERROR, "%s", "\x1b[2J\n" + "x" * 5000, error=error)
    for tracebacks in (False, True):
        text = AsJson(tracebacks).format(record)
        assert "\n" not in text
        assert "\x1b" not in text
        line = json.loads(text)
        assert line["message"].endswith("x" * 5000)
        assert line["severity"] == "ERROR"
        assert line["time"].endswith("+00:00")
        assert ("exception" in line) is tracebacks
