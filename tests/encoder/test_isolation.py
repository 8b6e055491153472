"""The wall around processes that work on files of strangers, against code that runs inside."""

import socket
import subprocess
import sys

import pytest

from encoder import isolation

pytestmark = pytest.mark.skipif(
    not sys.platform.startswith("linux"), reason="the wall is of Linux' namespaces and Landlock"
)

INSIDE = """
import os, runpy, socket, subprocess, sys
wall = runpy.run_path(sys.argv[1])["restrict"]
folder, outside, port, allowed = sys.argv[2:6]
print("missing:", *wall(folder if allowed else None))

def attempt(what, action):
    try:
        action()
        print(what, "done")
    except OSError as error:
        print(what, "refused")

def shell():
    if subprocess.run(["touch", f"{outside}/shell"], stderr=subprocess.DEVNULL).returncode:
        raise OSError

attempt("inside", lambda: open(f"{folder}/new", "w").close())
attempt("outside", lambda: open(f"{outside}/new", "w").close())
attempt("change", lambda: open(f"{outside}/old", "a").close())
attempt("remove", lambda: os.remove(f"{outside}/old"))
attempt("move", lambda: os.rename(f"{outside}/old", f"{folder}/old"))
attempt("link", lambda: os.symlink("x", f"{outside}/link"))
attempt("shell", shell)
attempt("network", lambda: socket.create_connection(("127.0.0.1", int(port)), 5))
"""


@pytest.mark.parametrize("allowed", [True, False])
def test_no_network_and_no_writing_but_in_one_folder_if_any(tmp_path, allowed):
    folder, outside = tmp_path / "in", tmp_path / "out"
    folder.mkdir()
    outside.mkdir()
    (outside / "old").write_text("old")
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = str(server.getsockname()[1])
        words = [
            sys.executable,
            "-c",
            INSIDE,
            isolation.__file__,
            folder,
            outside,
            port,
            "1" * allowed,
        ]
        result = subprocess.run(words, capture_output=True, text=True, check=True)
    first, *lines = result.stdout.splitlines()
    if first != "missing:":
        pytest.skip(f"this system can't do without {first}")
    assert lines[0] == ("inside done" if allowed else "inside refused")
    assert {line.split()[1] for line in lines[1:]} == {"refused"}
    assert len(lines) == 8
    assert [path.name for path in outside.iterdir()] == ["old"]
    assert (outside / "old").read_text() == "old"
