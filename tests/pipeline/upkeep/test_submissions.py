"""Notes of jobs on Dataflow: written, read, pruned, and never followed to strange places."""

import msgspec
import pytest

from pipeline.__main__ import main
from pipeline.upkeep.submissions import Submission, read_submissions, write_submission
from pipeline.upkeep.verify import verify

JOB = Submission(
    "nightly", "2026-11-27T01:02:03.000+00:00", "2026-11-27_x-1", "proj", "europe-west4"
)


def test_notes_of_committed_runs_do_not_count(tmp_path):
    later = msgspec.structs.replace(JOB, run_id="later", submitted="2026-11-28T00:00:00+00:00")
    output = str(tmp_path)
    for job in (later, JOB):
        write_submission(output, job)
    assert read_submissions(output, []) == [JOB, later]
    assert read_submissions(output, ["nightly", "another"]) == [later]


@pytest.mark.parametrize(
    "change",
    [
        {"project": "proj@evil.example"},
        {"project": "a/b"},
        {"region": "../../x"},
        {"job_id": "x?y=z"},
        {"job_id": ""},
        {"run_id": "other"},
        {"region": 3},
    ],
)
def test_notes_that_others_wrote_lead_nowhere(tmp_path, change):
    """Their values become part of an address to which credentials are sent."""
    write_submission(str(tmp_path), JOB)
    path = tmp_path / "submitted" / "nightly.json"
    path.write_bytes(msgspec.json.encode({**msgspec.to_builtins(JOB), **change}))
    assert read_submissions(str(tmp_path), []) == []


def test_notes_are_no_findings_and_can_be_pruned(tmp_path, images, small_bundle, capsys):
    output = tmp_path / "out"
    paths = ["--input", str(images), "--encoder", str(small_bundle), "--output", str(output)]
    assert main(["run", *paths]) == 0
    write_submission(str(output), JOB)
    assert verify(str(output)) == []
    assert main(["prune", str(output), "--runs-older-than", "1h"]) == 0
    assert (output / "submitted" / "nightly.json").exists()
    assert main(["prune", str(output), "--runs-older-than", "0h"]) == 0
    assert not (output / "submitted" / "nightly.json").exists()
    assert main(["verify", str(output)]) == 0


def test_the_commit_removes_the_note_of_its_run(tmp_path, images, small_bundle):
    output = tmp_path / "out"
    write_submission(str(output), JOB)
    write_submission(str(output), msgspec.structs.replace(JOB, run_id="other"))
    paths = ["--input", str(images), "--encoder", str(small_bundle), "--output", str(output)]
    assert main(["run", *paths, "--run-id=nightly"]) == 0
    assert [job.run_id for job in read_submissions(str(output), [])] == ["other"]
