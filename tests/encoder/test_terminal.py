import io
import os
import subprocess
import sys
import threading

import pytest
from rich.table import Table

from encoder.compute.keras_setup import import_keras
from encoder.errors import InputError
from encoder.printable import LONGEST, escaped
from encoder.terminal import Parser, _Guarded, console, report, silenced_stderr, wrap


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


@pytest.mark.parametrize(
    ("words", "name"),
    [
        (["--output", ""], "--output"),
        (["--output="], "--output"),
        (["x", ""], "an argument"),
        (["--output", "a", ""], "an argument"),
    ],
)
def test_options_that_a_shell_left_empty(words, name, capsys):
    with pytest.raises(SystemExit) as ended:
        Parser(prog="p").check_filled(words)
    assert ended.value.code == 2
    assert f"p: error: {name} is empty" in capsys.readouterr().err


def test_words_with_blanks_are_no_empty_ones():
    Parser().check_filled(["--list-delimiter", " ", "--list-delimiter=\t", "a=", "--x", "y="])


@pytest.mark.parametrize("for_data", [True, False])
def test_nothing_but_visible_characters_leaves_a_guarded_stream(for_data):
    stream = io.StringIO()
    guarded = _Guarded(stream, for_data)
    message = "".join(map(chr, (*range(0x300), *range(0x2000, 0x2100))))
    print("begun", end="", file=guarded)
    print(f" \x1b[2J{message}\nerror: forged\n\n", file=guarded)
    guarded.writelines(["a\r", "b"])
    guarded.flush()
    first, *others = stream.getvalue().split("\n")
    assert first.startswith("begun \\x1b[2J\\x00\\x01")
    assert [line for line in others if line][-1] == "a\\rb"
    assert ("error: forged" in others) == for_data  # a log's message begins no line of its own
    assert all(len(escaped(line)) == len(line) for line in (first, *others))


def test_lines_of_errors_are_cut_and_those_of_data_are_not():
    cut, whole = io.StringIO(), io.StringIO()
    print("x" * 10_000, file=_Guarded(cut, False))
    print("x" * 10_000, file=_Guarded(whole, True))
    assert (len(cut.getvalue()), len(whole.getvalue())) == (LONGEST + 1, 10_001)


def test_threads_lose_no_lines():
    stream = io.StringIO()
    guarded = _Guarded(stream, True)

    def write(letter):
        for _ in range(2000):
            guarded.write(f"{letter}\n")

    threads = [threading.Thread(target=write, args=(letter,)) for letter in "abcd"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(stream.getvalue()) == sorted("a\nb\nc\nd\n" * 2000)


def test_cells_are_shown_as_they_are():
    stream = io.StringIO()
    table = Table("[red]head[/red]\x1b[2J", title="[b]title\x07")
    table.add_row("[/red][link=x]:smile: \x1b[31m\nerror: forged" + "x" * 5000)
    shown_on = console(stream)
    shown_on.width = 1000
    shown_on.print(table)
    text = stream.getvalue()
    assert r"[red]head[/red]\x1b[2J" in text
    assert r"[/red][link=x]:smile: \x1b[31m\nerror: forgedx" in text
    assert r"[b]title\x07" in text
    assert "…" in text
    assert max(map(len, text.splitlines())) < 500


def test_a_traceback_forges_no_line(capsys):
    try:
        raise ValueError("x\nerror: forged\x1b[2J")
    except ValueError as caught:
        caught.__notes__ = ["error: forged"]
        report(caught, (), verbose=True)
    lines = capsys.readouterr().err.splitlines()
    assert [line for line in lines if line.startswith("error:")] == [
        r"error: ValueError: x\nerror: forged\x1b[2J"
    ]
    assert r"  error: forged\x1b[2J" in lines
