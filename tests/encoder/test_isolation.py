"""The wall around processes that work on files of strangers, against code that runs inside."""

import functools
import os
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
print("missing:", *wall([folder] if allowed else []))

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


@functools.cache
def missing():
    code = "from encoder.isolation import restrict; print(*restrict())"
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout.strip()


COMMAND = """
import os, socket, sys
from encoder.cli import main as cli
outside, port, *words = sys.argv[1:]
sys.argv[1:] = words

def attack():  # in place of Keras, which is loaded when the rights are gone
    for what, action in (
        ("outside", lambda: open(f"{outside}/new", "w").close()),
        ("network", lambda: socket.create_connection(("127.0.0.1", int(port)), 5)),
    ):
        try:
            action()
            print(what, "done")
        except OSError:
            print(what, "refused")
    raise SystemExit

cli.import_keras = attack
cli.main()
"""


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["inspect", "{}/m.keras"], "refused"),
        (["inspect", "{}/m.keras", "--plot", "{}/plots/p.svg"], "refused"),
        (["extract", "{}/m.keras", "--output", "{}/new/bundle"], "refused"),
        (["extract", "{}/m.keras", "--output", "{}/new/bundle", "--trust"], "done"),
        (["inspect", "{}/m.keras", "--builder", "x:y"], "done"),
    ],
)
def test_commands_that_load_models_lose_rights_unless_code_is_trusted(tmp_path, words, expected):
    given, outside, temporary = (tmp_path / name for name in ("given", "outside", "tmp"))
    for folder in (given, given / "plots", outside, temporary):
        folder.mkdir()
    (given / "m.keras").touch()
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = str(server.getsockname()[1])
        result = subprocess.run(
            [sys.executable, "-c", COMMAND, outside, port, *(each.format(given) for each in words)],
            capture_output=True,
            text=True,
            check=True,
            env={**os.environ, "TMPDIR": str(temporary)},
        )
    if expected == "refused" and missing():
        pytest.skip(f"this system can't do without {missing()}")
    assert result.stdout.splitlines() == [f"outside {expected}", f"network {expected}"]
