"""All output to the terminal: one line per error, and none of the libraries' own messages.

Whatever is shown goes through this module, so that names of files and messages can neither control
the terminal nor begin a line of their own; see encoder.printable.
"""

from __future__ import annotations

import argparse
import atexit
import contextlib
import gc
import logging
import os
import re
import select
import shutil
import sys
import tempfile
import textwrap
import threading
import traceback
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, NoReturn, TextIO

from encoder.errors import InputError
from encoder.printable import escaped, printable

if TYPE_CHECKING:
    from rich.console import Console, HighlighterType, JustifyMethod, OverflowMethod
    from rich.style import Style
    from rich.text import Text

READER_LEFT = 141  # 128 + SIGPIPE, as a shell reports programs that end this way
_IS_SET = "give it a value, or leave it out; is a variable of the shell not set?"
_CELL = 400  # characters of a cell in a table
_MARGIN = "  "  # before lines that are not the first of what was written at once
# What hangs over: the rest of a line goes below its text, not below its first column.
_FIRST_COLUMN = re.compile(r" *(?:\S+ {2,})?")
_NOT_PROSE = re.compile(r'\s*["{}\[\]]')  # JSON, which people copy


@contextlib.contextmanager
def silenced_stderr(tell_errors: bool = False) -> Iterator[None]:
    """Discard all output to stderr in this block, also from C++ and from child processes.

    Args:
        tell_errors: whether to print the discarded output after all if the block raises.
    """
    sys.stderr.flush()
    stderr = os.dup(2)
    with tempfile.TemporaryFile() as held_back:
        os.dup2(held_back.fileno(), 2)
        try:
            yield
        except BaseException:
            if tell_errors:
                held_back.seek(0)
                text = held_back.read().decode(errors="replace")
                os.write(stderr, "\n".join(map(printable, text.split("\n"))).encode())
            raise
        finally:
            os.dup2(stderr, 2)
            os.close(stderr)


def report(error: BaseException, foreseen: tuple[type[BaseException], ...], verbose: bool) -> int:
    """Print an error in one line on stderr; return the exit code of the command.

    Args:
        error: the error that the command raised.
        foreseen: classes of errors whose messages are written for users.
        verbose: whether to print the traceback, too.
    """
    if isinstance(error, KeyboardInterrupt):
        say(str(error) or "interrupted; start it again to go on where it was", sys.stderr)
        return exit_code(error)
    if isinstance(error, BrokenPipeError) and _reader_left():
        return READER_LEFT
    if verbose:
        for line in "".join(traceback.format_exception(error)).rstrip("\n").split("\n"):
            say(_MARGIN + line, sys.stderr)
    if isinstance(error, foreseen):
        say(f"error: {error}", sys.stderr)
    else:
        say(f"error: {type(error).__name__}: {error}", sys.stderr)
        say("this was not foreseen; --verbose shows where it came from", sys.stderr)
    return exit_code(error)


def exit_code(error: BaseException) -> int:
    """The exit code of a command that ends with this error."""
    if isinstance(error, KeyboardInterrupt):
        return 130  # 128 + SIGINT, as a shell has it
    return 2 if isinstance(error, InputError) else 1


def say(text: str, stream: TextIO | None = None, at_once: bool = False) -> None:
    """Print text as one line, escaped and cut.

    Args:
        text: the line; names in it may contain anything.
        stream: where to; None for stdout.
        at_once: flush the stream.
    """
    print(printable(text), file=stream, flush=at_once)


def say_data(lines: Iterable[str]) -> None:
    """Print lines for programs on stdout, uncut; from encoder.printable.json_text."""
    for line in lines:
        print(line)


class Parser(argparse.ArgumentParser):
    """A parser whose errors are one line, whatever the words of the command line are."""

    def check_filled(self, words: Sequence[str]) -> None:
        """Exit with the code 2 if an option is empty, as with a variable that is not set.

        Args:
            words: the command line without the program.
        """
        for before, word in zip(["", *words], words, strict=False):
            option, equals, value = word.partition("=")
            if word and not (option.startswith("--") and equals and not value):
                continue
            name = option or (before if before.startswith("-") else "an argument")
            self.error(f"{name} is empty; {_IS_SET}")

    def error(self, message: str) -> NoReturn:
        """Print the usage and an error, and exit with the code 2."""
        super().error(printable(message))


def show_logs(
    formatter: logging.Formatter | None = None,
    wanted: Callable[[logging.LogRecord], bool] | None = None,
    for_data: bool = False,
) -> None:
    """Print log messages of level INFO and above to stderr.

    Args:
        formatter: makes the lines; None for Python's own form.
        wanted: which messages are printed; None for all.
        for_data: whether the lines are for programs: they are not cut, and have to be escaped.
    """
    handler = logging.StreamHandler(_unguarded(sys.stderr) if for_data else sys.stderr)
    handler.setFormatter(formatter or logging.Formatter(logging.BASIC_FORMAT))
    if wanted:
        handler.addFilter(wanted)
    logging.basicConfig(level=logging.INFO, handlers=[handler])


@contextlib.contextmanager
def logs_shown(name: str, wanted: Callable[[logging.LogRecord], bool]) -> Iterator[None]:
    """Print messages of one library on stderr in this block, where all logs are silenced.

    Without effect if logs are not silenced.

    Args:
        name: of the library's logger; those below it count, too.
        wanted: whether to print a message.
    """
    silenced = logging.root.manager.disable
    if silenced < logging.CRITICAL:
        yield
        return
    logger, root = logging.getLogger(name), logging.getLogger()
    before = logger.level, logger.propagate, root.handlers
    handler = _Printing(wanted)
    logger.addHandler(handler)
    root.handlers = [logging.NullHandler()]  # without any, Python would print others' warnings
    logger.setLevel(logging.INFO)
    logger.propagate = False
    logging.disable(logging.NOTSET)
    try:
        yield
    finally:
        logging.disable(silenced)
        logger.setLevel(before[0])
        logger.propagate = before[1]
        root.handlers = before[2]
        logger.removeHandler(handler)


class _Printing(logging.Handler):
    """Prints messages as lines."""

    def __init__(self, wanted: Callable[[logging.LogRecord], bool]) -> None:
        super().__init__()
        self._wanted = wanted

    def emit(self, record: logging.LogRecord) -> None:
        if self._wanted(record):
            say(record.getMessage(), sys.stderr, at_once=True)


def run_command(main: Callable[[], int]) -> NoReturn:
    """Run the main function of a command and exit with its code."""
    guard_output()
    try:
        code = main()
    except SystemExit as error:  # argparse, after --help or for a wrong command line
        code = error.code if isinstance(error.code, int) else int(error.code is not None)
    finish(code)


def finish(code: int) -> NoReturn:
    """Exit with a code, after the libraries' exit handlers have run and all output is flushed.

    This skips Python's own shutdown: a thread of Arrow that releases a buffer during it needs the
    interpreter, and its failure aborts the process although the work is done. One test run in a
    hundred aborted this way, and one in six on a busy machine.
    """
    atexit._run_exitfuncs()  # for example, to remove temporary files
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except BrokenPipeError:  # the reader has exited, as in "| head"
            code = code or READER_LEFT
        except OSError:  # the disk is full
            code = code or 1
    os._exit(code)


def guard_output() -> None:
    """Escape what anything in this process prints; at a terminal, wrap the lines, too.

    This is a second wall behind ``say``, for libraries, their logs and their tracebacks.
    """
    sys.stdout = _guarded(sys.stdout, for_data=True)
    sys.stderr = _guarded(sys.stderr, for_data=False)


def console(stream: TextIO | None = None) -> Console:
    """A console for tables, whose cells are shown as they are: escaped, cut, without markup.

    If the reader has exited, it raises BrokenPipeError.

    Args:
        stream: where to; None for stdout.
    """
    from rich.console import Console

    class _Literal(Console):
        def on_broken_pipe(self) -> None:  # rich would exit with the code 1
            raise BrokenPipeError

        def render_str(
            self,
            text: str,
            *,
            style: str | Style = "",
            justify: JustifyMethod | None = None,
            overflow: OverflowMethod | None = None,
            emoji: bool | None = None,
            markup: bool | None = None,
            highlight: bool | None = None,
            highlighter: HighlighterType | None = None,
        ) -> Text:
            return super().render_str(
                printable(text, _CELL),
                style=style,
                justify=justify,
                overflow=overflow,
                emoji=False,
                markup=False,
                highlight=False,
            )

    return _Literal(file=_unguarded(sys.stdout if stream is None else stream))


@contextlib.contextmanager
def copy_of_stderr() -> Iterator[TextIO]:
    """A copy of the descriptor of stderr, which may be redirected meanwhile."""
    try:
        descriptor = os.dup(sys.stderr.fileno())
    except OSError:  # stderr is not a file
        yield sys.stderr
        return
    with os.fdopen(descriptor, "w") as opened:
        yield opened


def wrap(line: str, width: int) -> str:
    """A line of text as several of at most ``width`` characters. No word is broken.

    Words that are longer than a line, such as paths, stay whole. JSON is not changed.
    """
    if len(line) <= width or _NOT_PROSE.match(line):
        return line
    column = _FIRST_COLUMN.match(line)
    indent = column.end() if column else 0
    return "\n".join(
        textwrap.wrap(
            line,
            width,
            subsequent_indent=" " * (indent if indent <= width // 2 else 0),
            break_long_words=False,
            break_on_hyphens=False,
            replace_whitespace=False,
        )
    )


class _Guarded:
    """A stream that only lines of visible characters leave.

    Args:
        stream: where the lines go.
        for_data: lines stay as long as they are, and all begin at the margin. Otherwise, lines are
            cut, and of what is written at once only the first line begins at the margin: the
            message of an error can't forge a line.
    """

    def __init__(self, stream: TextIO, for_data: bool) -> None:
        self._stream = stream
        self._for_data = for_data
        self._wraps = stream.isatty()
        self._begun = ""  # a line without its end
        self._lock = threading.RLock()

    def __getattr__(self, name: str) -> object:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        """Write the lines that are complete, and keep the rest."""
        first, *others = text.split("\n")
        if not self._for_data:
            others = [_MARGIN + line if line else line for line in others]
        with self._lock:
            *lines, self._begun = (self._begun + first, *others)
            self._stream.write("".join(f"{self._shaped(line)}\n" for line in lines))
        return len(text)

    def writelines(self, lines: Iterable[str]) -> None:
        """Write several texts."""
        for line in lines:
            self.write(line)

    def flush(self) -> None:
        """Write everything."""
        with self._lock:
            begun, self._begun = self._begun, ""
            self._stream.write(escaped(begun))
            self._stream.flush()

    def _shaped(self, line: str) -> str:
        shown = escaped(line) if self._for_data else printable(line)
        return wrap(shown, shutil.get_terminal_size().columns) if self._wraps else shown


def _guarded(stream: TextIO, for_data: bool) -> TextIO:
    guarded: TextIO = _Guarded(stream, for_data)  # type: ignore[assignment]  # else the stream's
    return guarded


def _unguarded(stream: TextIO) -> TextIO:
    """The stream itself, for tables: colours are escape sequences, too."""
    if isinstance(stream, _Guarded):
        stream.flush()
        return stream._stream
    return stream


def _reader_left() -> bool:
    """Whether stdout is a pipe whose reader has exited; other pipes break, too."""
    poll = select.poll()
    try:
        poll.register(sys.stdout.fileno(), 0)
    except OSError:  # stdout is not a file
        return False
    return bool(poll.poll(0))  # only errors are waited for


@contextlib.contextmanager
def quick_imports() -> Iterator[None]:
    """Import large libraries in this block without garbage collection, in a fifth less time.

    The collector would scan the new objects again and again without finding garbage. They live as
    long as the process, so later collections skip them, too.
    """
    collecting = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collecting:
            gc.freeze()
            gc.enable()
