import os
import threading

import pytest

from encoder.storage import file_systems
from encoder.storage.file_systems import open_regular


def test_a_regular_file(tmp_path):
    (tmp_path / "a").write_bytes(b"content")
    (tmp_path / "link").symlink_to("a")
    for name in ("a", "link"):
        with open_regular(str(tmp_path / name)) as file:
            assert file.read() == b"content"
            assert os.get_blocking(file.fileno())


@pytest.mark.parametrize(
    ("path", "what"),
    [
        ("/dev/zero", "a device"),
        ("/proc/kmsg", "makes up what is in it"),
        ("/proc/self/environ", "makes up what is in it"),
        ("/sys/kernel/uevent_seqnum", "makes up what is in it"),
        (".", "a folder"),
    ],
)
def test_what_has_no_end_is_not_opened(path, what):
    with pytest.raises(OSError, match=f"not a regular file: .*{what}"):
        open_regular(path)


def test_a_pipe_that_takes_the_place_of_a_file_does_not_block(tmp_path, monkeypatch):
    """Between the look and the opening, the file becomes a pipe that nobody writes to."""
    path = str(tmp_path / "a")
    check = file_systems._check
    calls = []

    def swap(*arguments):
        if not calls:
            os.mkfifo(path)
        calls.append(arguments)
        if len(calls) > 1:
            check(*arguments)

    monkeypatch.setattr(file_systems, "_check", swap)
    monkeypatch.setattr(file_systems.os, "stat", lambda path: None)
    raised = []

    def work():
        try:
            open_regular(path)
        except OSError as error:
            raised.append(str(error))

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    thread.join(10)
    assert raised == [f"{path} is not a regular file: a named pipe"]
