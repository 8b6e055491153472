"""Nothing blocks a run: images that never end, or take for ever, are failures; the others go on."""

import os
import subprocess
import sys
import tarfile

import pytest

from tests.conftest import write_image
from tests.support.image_files import endless_gif, endless_jpeg

# Holds a write lease on a file. Who opens it waits in the kernel for 45 seconds, as on a mount that
# does not answer.
HOLD = """
import fcntl, os, signal, sys
signal.signal(signal.SIGIO, signal.SIG_IGN)
file = os.open(sys.argv[1], os.O_RDWR)
fcntl.fcntl(file, fcntl.F_SETLEASE, fcntl.F_WRLCK)
print("held", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def hold():
    holders = []

    def start(path):
        holder = subprocess.Popen(
            [sys.executable, "-c", HOLD, path], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        holders.append(holder)
        if not holder.stdout.readline():
            pytest.skip("this file system has no leases")

    yield start
    for each in holders:
        each.communicate()


def test_a_folder_of_images_that_never_end(tmp_path, dataset, hold):
    folder = tmp_path / "p"
    for n in range(4):
        write_image(folder / f"{n}.png", n)
    hold(write_image(folder / "held.png", 9))
    (folder / "comments.gif").write_bytes(endless_gif())
    (folder / "scans.jpg").write_bytes(endless_jpeg())
    os.mkfifo(folder / "pipe.png")
    (folder / "log.png").symlink_to("/proc/kmsg")
    (folder / "zeros.png").symlink_to("/dev/zero")
    limits = ("--read-timeout", "1", "--decode-timeout", "1", "--max-failure-ratio", "0.9")
    dataset.run(folder, options=limits)
    assert sorted(dataset.by_name()) == [f"{n}.png" for n in range(4)]
    assert {
        name: (row["stage"], row["error"]) for name, row in dataset.by_name("failures").items()
    } == {
        "comments.gif": ("decode", "DecodeTimeoutError"),
        "held.png": ("read", "TimeoutError"),
        "log.png": ("list", "ListError"),
        "pipe.png": ("list", "ListError"),
        "scans.jpg": ("decode", "DecodeTimeoutError"),
        "zeros.png": ("list", "ListError"),
    }


def test_a_slow_image_is_tried_again_with_more_time(tmp_path, dataset):
    folder = tmp_path / "p"
    write_image(folder / "0.png", 0)
    (folder / "comments.gif").write_bytes(endless_gif(parts=20_000))
    dataset.run(folder, options=("--decode-timeout", "0.1"))
    dataset.run(folder)  # the same file is not decoded again
    assert list(dataset.by_name("failures")) == ["comments.gif"]
    dataset.run(folder, options=("--retry-failures",))
    assert sorted(dataset.by_name()) == ["0.png", "comments.gif"]
    assert not dataset.by_name("failures")


@pytest.mark.parametrize("option", ["--read-timeout", "--decode-timeout"])
@pytest.mark.parametrize("value", ["0", "-1", "nan", "inf", "86401"])
def test_times_that_can_not_be(tmp_path, dataset, option, value):
    write_image(tmp_path / "p" / "0.png", 0)
    assert option in dataset.run(tmp_path / "p", options=(f"{option}={value}",), code=2)


def test_a_list_that_is_a_device(tmp_path, dataset):
    (tmp_path / "list.csv").symlink_to("/dev/zero")
    message = dataset.run(tmp_path / "list.csv", code=2)
    assert "not a regular file: a device" in message


def test_a_list_that_never_answers(tmp_path, dataset, hold):
    write_image(tmp_path / "0.png", 0)
    (tmp_path / "list.txt").write_text("0.png\n")
    hold(tmp_path / "list.txt")
    message = dataset.run(tmp_path / "list.txt", options=("--read-timeout", "1"), code=2)
    assert "reading the list: nothing came for 1 s" in message


def test_an_archive_that_never_answers(tmp_path, dataset, hold):
    folder = tmp_path / "p"
    write_image(folder / "0.png", 0)
    with tarfile.open(folder / "a.tar", "w") as archive:
        archive.add(folder / "0.png", "1.png")
    hold(folder / "a.tar")
    dataset.run(folder, options=("--read-timeout", "1"))
    assert list(dataset.by_name()) == ["0.png"]
    (row,) = dataset.by_name("failures").values()
    assert (row["uri"], row["stage"], row["error"]) == (
        f"{folder}/a.tar",
        "read",
        "TimeoutError",
    )
