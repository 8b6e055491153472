"""Commands as people use them: at a terminal of 80 columns, and in pipes whose reader stops."""

import fcntl
import os
import pty
import re
import shutil
import struct
import subprocess
import sys
import termios

import pytest

from encoder.__main__ import build_parser as encoder_parser
from pipeline.__main__ import build_parser as pipeline_parser
from tests.support.dataset import Dataset

COLUMNS = 80
READER_LEFT = 141
HELP = [
    (module, *command, "--help")
    for module, parser in (("encoder", encoder_parser()), ("pipeline", pipeline_parser()))
    for command in [
        (),
        *((name,) for action in parser._actions for name in getattr(action, "choices", None) or ()),
    ]
]


def at_a_terminal(*words):
    """Run a command at a terminal. Returns its exit code and the lines that it shows."""
    ours, its = pty.openpty()
    fcntl.ioctl(its, termios.TIOCSWINSZ, struct.pack("HHHH", 24, COLUMNS, 0, 0))
    environment = {name: v for name, v in os.environ.items() if name not in ("COLUMNS", "LINES")}
    environment["TERM"] = "xterm-256color"
    process = subprocess.Popen(
        [sys.executable, "-m", *map(str, words)],
        stdin=its,
        stdout=its,
        stderr=its,
        env=environment,
    )
    os.close(its)
    shown = b""
    while piece := read(ours):
        shown += piece
    os.close(ours)
    plain = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", shown.decode()).replace("\r\n", "\n")
    return process.wait(), [line.rpartition("\r")[2].rstrip() for line in plain.split("\n")]


def read(descriptor):
    try:
        return os.read(descriptor, 1 << 16)
    except OSError:  # the other side has closed the terminal
        return b""


def check(lines, *texts):
    """Check that no line is too long, and that texts are there, with whole words.

    A path that is longer than a line stands alone: the terminal has to break it.
    """
    assert not [line for line in lines if len(line) > COLUMNS and len(line.split()) > 1]
    words = " ".join(" ".join(lines).split())
    for text in texts:
        assert text in words


@pytest.fixture(scope="module")
def dataset(small_bundle, photo_folder, tmp_path_factory):
    """A dataset with failures, and runs of which one has a long id."""
    base = tmp_path_factory.mktemp("a folder with a rather long name")
    photos = base / "photos of a holiday in the mountains" / "second week"
    photos.mkdir(parents=True)
    for name in ("china.jpg", "flower.jpg"):
        shutil.copy(photo_folder / name, photos)
    (photos / "cut.jpg").write_bytes((photo_folder / "china.jpg").read_bytes()[:30000])
    dataset = Dataset(base / "out", small_bundle)
    dataset.run(photos, options=("--run-id", "first"))
    dataset.run(
        photos,
        options=("--run-id", "scheduled__2026-11-27T04.40.00-00.00-of-the-nightly-collection"),
    )
    return photos, base / "out"


@pytest.mark.slow
@pytest.mark.parametrize("words", HELP, ids=" ".join)
def test_help_fits(words):
    code, lines = at_a_terminal(*words)
    assert code == 0
    check(lines, "show this help message and exit")


def test_status_fits(dataset):
    code, lines = at_a_terminal("pipeline", "status", dataset[1])
    assert code == 0
    check(lines, "encoder", "failures", "TruncatedError", "started (UTC) seconds listed of which")
    check(lines, "the JPEG file is")
    assert any(re.search(r"2026-|20\d\d-\d\d-\d\d \d\d:\d\d", line) for line in lines)


@pytest.mark.slow
def test_a_run_fits(dataset, small_bundle, tmp_path):
    code, lines = at_a_terminal(
        "pipeline",
        "run",
        "--input",
        dataset[0],
        "--encoder",
        small_bundle,
        "--output",
        tmp_path / "o",
    )
    assert code == 0
    check(lines, "committed: 3 images listed", "the JPEG file is truncated or damaged")


@pytest.mark.slow
def test_inspect_fits(small_model_file):
    code, lines = at_a_terminal("encoder", "inspect", small_model_file)
    assert code == 0
    check(lines, "is the deepest layer before", "preprocess none: assumed")


def test_errors_fit(dataset, small_bundle):
    words = ("--encoder", small_bundle, "--output", dataset[1])
    code, lines = at_a_terminal("pipeline", "run", "--input", "a folder that is not there", *words)
    assert code == 2
    check(lines, "there is no such file or folder")


@pytest.mark.parametrize("buffered", [True, False])
@pytest.mark.parametrize(
    "words",
    [
        ("pipeline", "changes"),
        ("pipeline", "status"),
        ("pipeline", "verify"),
        ("encoder", "inspect", "--json"),
    ],
    ids=" ".join,
)
def test_a_reader_that_stops_is_no_error(words, buffered, dataset, small_model_file):
    """As in "| head -1"."""
    path = small_model_file if words[0] == "encoder" else dataset[1]
    assert without_a_reader(*words, str(path), buffered=buffered) == (READER_LEFT, b"")


def test_help_without_a_reader():
    assert without_a_reader("pipeline", "--help", buffered=True) == (READER_LEFT, b"")


def without_a_reader(*words, buffered):
    """Run a command whose output nobody reads. Returns its exit code and its errors."""
    with subprocess.Popen(
        [sys.executable, "-m", *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, "PYTHONUNBUFFERED": "" if buffered else "1"},
    ) as process:
        process.stdout.close()
        errors = process.stderr.read()
    return process.returncode, errors
