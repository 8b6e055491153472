import multiprocessing
import os
import subprocess
import sys
import time

import pytest

from pipeline.runs import progress
from pipeline.runs.progress import (
    EMBEDDED,
    PLANNED,
    Pace,
    Rate,
    Tally,
    live_progress,
    progress_line,
)


def _add(folder):
    for _ in range(100):
        Tally(folder).add(EMBEDDED, 3)


def test_counts_add_up_over_processes(tmp_path):
    context = multiprocessing.get_context("spawn")
    workers = [context.Process(target=_add, args=(str(tmp_path),)) for _ in range(2)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert Tally(str(tmp_path)).read(EMBEDDED) == 600
    assert Tally(str(tmp_path)).read(PLANNED) == 0


def test_without_its_folder_nothing_is_counted(tmp_path):
    Tally("").add(EMBEDDED, 1)
    elsewhere = Tally(str(tmp_path / "on another machine"))
    elsewhere.add(EMBEDDED, 1)
    assert elsewhere.read(EMBEDDED) == 0


def test_the_rate_is_between_the_first_and_the_latest_batch():
    rate = Rate()
    assert [rate.update(*step) for step in [(0, 0.0), (32, 10.0), (32, 11.0), (64, 12.0)]] == [
        *(0, 0, 0, 16),
    ]
    assert rate.update(64, 13.0) == 16  # it does not wait for a batch


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        ((0, 0, 0, 3, 0), "listing images and planning, 3 s"),
        ((1000, 0, 0, 3, 0), "0 of 1,000 images, loading the encoder"),
        ((1000, 32, 0, 3, 0), "32 of 1,000 images"),
        ((1000, 96, 4, 9, 10), "100 of 1,000 images, 4 failed, 10.0 images/s, about 90 s left"),
        ((10000, 100, 0, 9, 10), "100 of 10,000 images, 10.0 images/s, about 16 min left"),
    ],
)
def test_the_line(arguments, line):
    assert progress_line(*arguments) == line


@pytest.mark.parametrize("captured", ["capsys", "capfd"])
def test_where_nobody_looks_only_what_is_said_is_shown(captured, request):
    """Without a terminal, each line is printed once, and not to stderr."""
    capture = request.getfixturevalue(captured)
    with live_progress(True) as folder:  # stderr is captured here: no terminal
        Tally(folder).add(PLANNED, 5)
        for _ in range(2):  # two processes of one machine
            Tally(folder).announce("the encoder computes on a GPU [with brackets] " + "x" * 200)
    line = "the encoder computes on a GPU [with brackets] " + "x" * 200
    assert capture.readouterr() == (line + "\n", "")
    Tally(folder).announce("too late")
    assert Tally(folder).announced() == []


def test_lines_are_rare_where_nobody_watches():
    pace = Pace()
    printed = [second for second in range(1900) if pace.is_due(second + 0.4)]
    assert printed == [30, 60, 120, 300, 600, 900, 1200, 1500, 1800]


def test_a_pause_is_not_made_up_for():
    """As when a laptop sleeps."""
    pace = Pace()
    assert [pace.is_due(seconds) for seconds in (29, 3000, 3001, 3299, 3300)] == [
        *(False, True, False, False, True),
    ]


@pytest.mark.parametrize("captured", ["capsys", "capfd"])
def test_the_progress_where_nobody_watches(captured, request, monkeypatch):
    capture = request.getfixturevalue(captured)
    monkeypatch.setattr(progress, "_REFRESH_SECONDS", 0.02)
    monkeypatch.setattr(progress, "_LINE_SECONDS", (0.2, 0.4, 60.0))
    with live_progress(True) as folder:
        Tally(folder).add(PLANNED, 20000)
        Tally(folder).add(EMBEDDED, 1000)
        time.sleep(0.1)
        Tally(folder).add(EMBEDDED, 24)
        time.sleep(0.8)
    out, err = capture.readouterr()
    lines = out.splitlines()
    assert len(lines) == 2
    assert all(line.startswith("1,024 of 20,000 images, ") for line in lines)
    assert all(" images/s, about " in line and line.endswith(" left") for line in lines)
    assert err == ""


def test_the_progress_goes_on_without_a_reader(monkeypatch):
    """As after "| head -1": the run is not disturbed."""
    script = (
        "import sys, time; from pipeline.runs import progress\n"
        "progress._REFRESH_SECONDS, progress._LINE_SECONDS = 0.02, (0.1, 0.2, 0.3, 60.0)\n"
        "sys.stdin.readline()\n"
        "with progress.live_progress(True): time.sleep(0.6)\n"
        "print('done', file=sys.stderr)"
    )
    command = [sys.executable, "-c", script]
    with subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    ) as process:
        process.stdout.close()
        process.stdin.write(b"\n")
        process.stdin.close()
        assert process.stderr.read() == b"done\n"
        process.wait()


def test_other_engines_show_nothing():
    with live_progress(False) as folder:
        assert folder is None
    Tally(None).announce("nobody sees it")
