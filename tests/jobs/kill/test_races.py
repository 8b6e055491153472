"""Concurrent runs on one output, and readers at the same time."""

import contextlib
import json
import subprocess
import sys

import pytest

from pipeline.__main__ import main
from pipeline.dataset.reader import open_dataset
from tests.jobs.kill import harness, reader
from tests.jobs.kill.conftest import LONG


@contextlib.contextmanager
def reading(trial):
    """A reader in a new process. Gives a function that ends it and returns what it read."""
    log, stop = trial.folder / "log", trial.folder / "stop"
    words = [sys.executable, harness.ROOT / "tests" / "jobs" / "kill" / "reader.py"]
    words += [trial.output, log, stop]
    process = subprocess.Popen([str(word) for word in words], cwd=harness.ROOT)

    def seen():
        stop.touch()
        assert process.wait(harness.TIMEOUT) == 0
        *digests, counts = log.read_text().splitlines()
        return digests, [int(count) for count in counts.split()]

    try:
        harness.wait_for(log)
        yield seen
    finally:
        process.kill()
        process.wait()


def digest(trial):
    return reader.digest_of(open_dataset(trial.output).to_table())


def test_a_reader_sees_one_committed_state_after_the_other(trial):
    """Runs, rewrites and compactions happen while it reads."""
    trial.run()
    states = [digest(trial)]
    with reading(trial) as seen:
        for _ in range(10 if LONG else 3):
            trial.collection.change(trial.rng)
            trial.run()
            states.append(digest(trial))
            parts = harness.committed_parts(trial.output)
            assert main(["compact", str(trial.output)]) == 0
            assert len(harness.committed_parts(trial.output)) < len(parts)
            assert digest(trial) == states[-1]
        digests, (read, _) = seen()
    assert len(set(states)) == len(states)
    assert [state for state in states if state in digests] == digests
    assert digests[-1] == states[-1]
    assert read > len(states)


@pytest.mark.long
def test_of_two_runs_the_later_loses_and_its_work_is_taken_over(trial):
    """Each run embeds other images. The second run begins later and commits first."""
    go = trial.folder / "go"
    folder, listed = trial.collection.inputs
    slow = harness.words([folder], trial.bundle, trial.output, "--run-id", "slow")
    process = harness.start(slow, "--at", "record:after", 1, go, "--calls", trial.calls)
    harness.wait_for(go.with_suffix(".reached"))
    fast = harness.words([listed], trial.bundle, trial.output, "--run-id", "fast")
    assert trial.main(fast)["embedded"] == 40
    go.touch()
    code, out, err = harness.finish(process)
    assert (code, harness.besides_devices(out)) == (1, "")
    assert err == (
        "error: another run (fast) committed to this output while this one worked, so this one was "
        "not committed. No work is lost: start it again, and it takes over the finished parts\n"
    )
    assert list(json.loads((trial.output / "manifest.json").read_text())["runs"]) == ["fast"]
    assert not (trial.output / "runs" / "slow.json").exists()
    # The fast run has found the parts of the slow run, and left them: it does not list them.
    assert len(harness.committed(trial.output)) == len(harness.rows(trial.output)) == 40
    again = trial.main(slow)
    assert (again["resumed"], again["embedded"]) == (2140, 0)
    trial.check()


@pytest.mark.long
@pytest.mark.parametrize("point", ["rewrite:before", *(["part:before"] if LONG else [])])
def test_the_loser_finds_a_part_gone(trial, point):
    """The other run has rewritten a part that this run has not read yet."""
    trial.run()
    trial.collection.change(trial.rng)
    go = trial.folder / "go"
    process = harness.start(trial.words(), "--at", point, 1, go)
    harness.wait_for(go.with_suffix(".reached"))
    trial.run()
    go.touch()
    code, out, err = harness.finish(process)
    assert (code, harness.besides_devices(out)) == (1, "")
    assert "another run" in err
    assert "start it again" in err
    assert len(err.splitlines()) == 1
    trial.run()
    trial.check()


@pytest.mark.skipif(not LONG, reason="make test-kill")
def test_runs_that_start_at_once(trial):
    """Each run reports whether it has committed, and the next run completes the dataset."""
    processes = [harness.start(trial.words()) for _ in range(3)]
    ends = [harness.finish(process) for process in processes]
    assert 0 in {code for code, _, _ in ends}
    for code, out, err in ends:
        assert code in (0, 1)
        assert ("another run" in err) == bool(code), err
        assert ("committed: " in out) != bool(code)
    trial.run()
    trial.check()
