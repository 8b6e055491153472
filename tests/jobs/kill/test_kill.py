"""Runs that are killed, fill the disk or lose a worker, and the next run after them.

`make test` kills at some points. `make test-kill` (KILLS=50) kills at all points, and 50 times more
at random moments.
"""

import os
import signal
import subprocess
import time

import pytest

from pipeline.__main__ import main
from tests.jobs.kill import harness, launcher
from tests.jobs.kill.conftest import LONG

KILLS = int(os.environ.get("KILLS", 0))
LOST_AT_MOST = 1024  # images that may be embedded again, per kill
WORKERS = ["--direct_num_workers=2", "--direct_running_mode=multi_processing"]

# The points of a run over a changed collection, in their order.
FIRST = ["list:before", "list:half", "list:after", "part:before", "part:half", "part:after"]
CHANGED = [
    *(
        f"{kind}:{moment}"
        for kind in ("part", "rewrite", "record")
        for moment in ("before", "half")
    ),
    *("part:after", "rewrite:after", "record:after"),
    *("failures:before", "failures:half", "failures:after", "manifest:before", "manifest:half"),
]
COMMITTED = ["manifest:after", "removal:before", "removal:after"]


def kill(trial, *where):
    """Kill one run. It loses few images, and readers see none of its rows."""
    before = harness.committed(trial.output)
    trial.computed()
    earlier = trial.finished()
    code, _, err = trial.hit(*where)
    assert (code, err) == (-signal.SIGKILL, ""), (where, err)
    computed = trial.computed()
    if where[1] not in COMMITTED:
        assert computed - (trial.finished() - earlier) <= LOST_AT_MOST, where
        assert harness.state_of(harness.committed(trial.output)) == harness.state_of(before), where


def test_a_first_run_is_killed(trial):
    """Every run takes over the complete parts of the run before it, and goes on from there."""
    for point, nth in [*([(p, 1) for p in FIRST] if LONG else []), ("part:half", 4)]:
        kill(trial, "--at", point, nth, "kill")
    finished = trial.finished()
    assert finished >= LOST_AT_MOST
    record = trial.run()
    assert record["resumed"] == finished
    assert record["resumed"] + record["embedded"] == 2100 + 40 + 40
    trial.check()


@pytest.mark.long
@pytest.mark.parametrize(
    "points",
    [CHANGED, *([point] for point in COMMITTED)]
    if LONG
    else [["rewrite:after", "manifest:half", "removal:after"]],
    ids=" ".join,
)
def test_a_run_over_changes_is_killed(trial, points):
    """At the last of these points, the run may have committed."""
    trial.run()
    trial.collection.change(trial.rng)
    for point in points:
        kill(trial, "--at", point, 1, "kill")
        if point != points[-1] and LONG:
            trial.collection.change(trial.rng)
    if points[-1] in COMMITTED:
        reference = harness.rows(trial.reference() / "out")
        assert harness.state_of(harness.committed(trial.output)) == harness.state_of(reference)
        assert trial.run()["embedded"] == 0
    else:
        trial.run()
    trial.check()


@pytest.mark.skipif(not LONG, reason="make test-kill")
def test_runs_are_killed_at_random_moments(trial):
    """Some runs are killed before they begin, some after their commit, most in between."""
    began = time.monotonic()
    assert trial.hit()[0] == 0
    length = time.monotonic() - began
    killed = 0
    while killed < KILLS:
        trial.collection.change(trial.rng)
        trial.computed()
        earlier = trial.finished()
        process = harness.start(trial.words(), "--calls", trial.calls)
        try:
            process.wait(length * trial.rng.uniform(0.2, 1.0))
        except subprocess.TimeoutExpired:
            process.kill()
            killed += 1
        code, _, err = harness.finish(process)
        assert (code, err) in ((0, ""), (-signal.SIGKILL, ""))
        if code:  # finished() is smaller if the run was killed after its commit
            harness.committed(trial.output)
            committed = trial.finished() < earlier
            assert committed or trial.computed() - trial.finished() + earlier <= LOST_AT_MOST
        if trial.rng.random() < 0.3:
            trial.run()
            trial.check()
    trial.run()
    trial.check()


def test_a_full_disk(trial, monkeypatch, capsys):
    launcher.limit_room(210_000, monkeypatch.setattr)
    assert main(trial.words()) == 1
    out, err = capsys.readouterr()
    assert harness.besides_devices(out) == ""
    assert len(err.splitlines()) == 1
    assert "No space left on device" in err
    assert str(trial.output) in err
    finished = trial.finished()
    assert finished >= LOST_AT_MOST
    assert not list(trial.output.rglob("*.tmp"))
    monkeypatch.undo()
    assert trial.run()["resumed"] == finished
    trial.check()


@pytest.mark.skipif(not LONG, reason="make test-kill")
@pytest.mark.skipif(os.geteuid() != 0, reason="mounting a file system takes root")
def test_a_disk_that_is_really_full(trial, tmp_path):
    trial.output.mkdir()
    words = ["mount", "-t", "tmpfs", "-o", "size=260k", "tmpfs", trial.output]
    if subprocess.run(words, check=False, capture_output=True).returncode:
        pytest.skip("mounting a file system is not allowed here")
    try:
        code, _, err = trial.hit()
        assert code == 1
        assert "No space left on device" in err
        finished = trial.finished()
        assert finished >= LOST_AT_MOST
        subprocess.run(["mount", "-o", "remount,size=10m", trial.output], check=True)
        assert trial.run()["resumed"] == finished
        trial.check()
    finally:
        subprocess.run(["umount", trial.output], check=True)


@pytest.mark.parametrize(
    "point",
    ["list:before", "part:after", "rewrite:half", "manifest:half"] if LONG else ["part:after"],
)
def test_a_worker_process_is_killed_by_the_kernel(trial, point):
    """The job ends with an error. Beam alone would wait for the worker forever."""
    if point.startswith("rewrite"):
        trial.run()
        trial.collection.change(trial.rng)
    code, out, err = trial.hit("--in-workers", "--at", point, 1, "kill", options=WORKERS)
    assert (code, harness.besides_devices(out)) == (1, "")
    assert err.startswith("error: a worker process has ended unexpectedly")
    assert len(err.splitlines()) == 1
    trial.run()
    trial.check()


@pytest.mark.long
def test_worker_processes_end_with_a_job_that_is_killed(trial):
    """Otherwise they would still write during the next run."""
    go = trial.folder / "go"
    words = trial.words(options=WORKERS)
    process = harness.start(words, "--in-workers", "--at", "part:before", 2, go)
    waiting = go.with_suffix(".reached")
    harness.wait_for(waiting)
    process.kill()
    code, _, _ = harness.finish(process)
    assert code == -signal.SIGKILL
    finished = trial.finished()
    go.touch()
    time.sleep(3)
    assert trial.finished() == finished
    assert not harness.alive(process.pid)
