"""``make schedule-demo``: five nights, one of which is cut short."""

import subprocess
import sys

import pytest


@pytest.mark.long
def test_five_nights(tmp_path):
    command = [sys.executable, "-m", "examples.schedule_demo", "--output", tmp_path / "demo"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    nights = [line.split() for line in done.stdout.splitlines() if line[:1].isdigit()]
    assert [night[0] for night in nights] == list("12345")
    # The columns from the end: seconds, resumed, failed, embedded, deleted, changed, new, listed.
    assert [night[-8:-1] for night in nights[:3]] == [
        ["22", "22", "0", "0", "22", "0", "0"],
        ["25", "3", "0", "0", "3", "0", "0"],
        ["22", "1", "2", "4", "2", "1", "0"],
    ]
    assert nights[3][-1] == "75"
    listed, new, changed, deleted, embedded, failed, resumed = map(int, nights[4][-8:-1])
    assert (listed, changed, deleted, failed) == (172, 0, 0, 0)
    assert new == embedded
    assert resumed > 0
    assert embedded + resumed == 150
