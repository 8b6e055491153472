import os
import subprocess
import sys

import pytest

from encoder.compute.keras_setup import import_keras
from encoder.errors import InputError
from encoder.terminal import report, silenced_stderr, wrap


@pytest.mark.parametrize(
    ("error", "code", "lines"),
    [
        (InputError("the option is wrong"), 2, ["error: the option is wrong"]),
        (OSError("the disk is full"), 1, ["error: the disk is full"]),
        (KeyboardInterrupt(), 130, ["interrupted; start it again to go on where it was"]),
        (
            ZeroDivisionError("oh"),
            1,
            [
                "error: ZeroDivisionError: oh",
                "this was not foreseen; --verbose shows where it came from",
            ],
        ),
    ],
)
def test_errors_are_said_in_a_line(error, code, lines, capsys):
    assert report(error, (InputError, OSError), verbose=False) == code
    assert capsys.readouterr().err.splitlines() == lines


def test_verbose_shows_where_it_came_from(capsys):
    with pytest.raises(ValueError, match="invalid literal") as caught:
        int("x")
    assert report(caught.value, (InputError,), verbose=True) == 1
    assert 'int("x")' in capsys.readouterr().err


def test_stderr_is_silenced_below_python_too(capfd):
    with silenced_stderr():
        os.write(2, b"chatter")
    os.write(2, b"heard")
    assert capfd.readouterr().err == "heard"


def fail_after_chatter():
    with silenced_stderr(tell_errors=True):
        os.write(2, b"the reason")
        raise ImportError


def test_what_was_held_back_is_told_after_an_error(capfd):
    with pytest.raises(ImportError):
        fail_after_chatter()
    assert capfd.readouterr().err == "the reason"


@pytest.mark.parametrize("code", [0, 1, 2])
def test_a_finished_command_says_all_and_is_not_held_up_by_a_thread(code):
    script = (
        "import threading; from encoder.terminal import finish\n"
        "threading.Thread(target=threading.Event().wait).start()\n"
        f"print('said'); finish({code})"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, timeout=60)
    assert (done.returncode, done.stdout) == (code, b"said\n")


def test_a_finished_command_whose_last_words_were_lost_has_failed():
    script = "from encoder.terminal import finish; print('said'); finish(0)"
    with open("/dev/full", "w") as full:
        assert subprocess.run([sys.executable, "-c", script], stdout=full).returncode == 1


def test_what_libraries_do_at_the_end_is_done():
    script = (
        "import atexit; from encoder.terminal import finish\n"
        "atexit.register(print, 'tidied up'); finish(0)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, timeout=60)
    assert (done.returncode, done.stdout) == (0, b"tidied up\n")


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("torch", "KERAS_BACKEND is 'torch'; expected one of tensorflow, jax"),
        ("jax", "KERAS_BACKEND is 'jax', which is not installed: pip install jax"),
    ],
)
def test_a_backend_that_is_not_there(monkeypatch, name, said):
    monkeypatch.setenv("KERAS_BACKEND", name)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(InputError, match=said):
        import_keras()


@pytest.mark.parametrize(
    ("line", "lines"),
    [
        ("short enough", ["short enough"]),
        ("a line that is one word too long", ["a line that is one", "word too long"]),
        ("  name  a text that goes on", ["  name  a text that", "        goes on"]),
        ("error: /a/path/that/is/longer/than/a/line is there", None),
        ('{"uri": "/a/b c", "change": "added"}', ['{"uri": "/a/b c", "change": "added"}']),
        ('  "reason": "JSON is not broken"', ['  "reason": "JSON is not broken"']),
        ("   ", ["   "]),
        ("", [""]),
    ],
)
def test_lines_break_between_words(line, lines):
    wrapped = wrap(line, 20).split("\n")
    assert " ".join(wrapped).split() == line.split()
    assert all(len(each) <= 20 or len(each.split()) == 1 or each == line for each in wrapped)
    assert lines is None or wrapped == lines


def test_another_broken_pipe_is_an_error_like_others(capfd):
    """Such as one between workers, while stdout has its reader."""
    assert report(BrokenPipeError("a worker is gone"), (), verbose=False) == 1
    assert "BrokenPipeError: a worker is gone" in capfd.readouterr().err


QUIET = """
import encoder, numpy as np
enc = encoder.load({bundle!r})
enc.embed(np.zeros((1, enc.spec.height, enc.spec.width, enc.spec.channels), np.uint8))
encoder.get_encoder(encoder.vgg16_encoder_decoder(input_size=(32, 32, 1)), layer="pool_5")
"""


@pytest.mark.slow
@pytest.mark.parametrize("level", [None, "0"])
def test_tensorflow_is_quiet_from_python_too(level, small_bundle):
    environment = {key: value for key, value in os.environ.items() if key != "TF_CPP_MIN_LOG_LEVEL"}
    if level:
        environment["TF_CPP_MIN_LOG_LEVEL"] = level
    script = QUIET.format(bundle=str(small_bundle))
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, env=environment, check=True
    )
    assert ("oneDNN" in done.stderr) == bool(level)  # a user who wants the messages gets them
    assert level or (done.stdout, done.stderr) == ("", "")
