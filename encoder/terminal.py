"""Terminal output: one line per error, and none of the libraries' own messages."""

from __future__ import annotations

import atexit
import contextlib
import gc
import os
import re
import select
import shutil
import sys
import tempfile
import textwrap
import traceback
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, NoReturn, TextIO

from encoder.errors import InputError

if TYPE_CHECKING:
    from rich.console import Console

READER_LEFT = 141  # 128 + SIGPIPE, as a shell reports programs that end this way
# What hangs over: the rest of a line goes below its text, not below its first column.
_FIRST_COLUMN = re.compile(r" *(?:\S+ {2,})?")
_NOT_PROSE = re.compile(r'\s*["{}\[\]]|.*\x1b')  # JSON, which people copy, and coloured tables


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
                os.write(stderr, held_back.read())
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
        print("interrupted; start it again to go on where it was", file=sys.stderr)
        return 130
    if isinstance(error, BrokenPipeError) and _reader_left():
        return READER_LEFT
    if verbose:
        traceback.print_exception(error)
    if isinstance(error, foreseen):
        print(f"error: {error}", file=sys.stderr)
    else:
        print(f"error: {type(error).__name__}: {error}", file=sys.stderr)
        print("this was not foreseen; --verbose shows where it came from", file=sys.stderr)
    return 2 if isinstance(error, InputError) else 1


def run_command(main: Callable[[], int]) -> NoReturn:
    """Run the main function of a command and exit with its code; at a terminal, wrap its lines."""
    sys.stdout, sys.stderr = _wrapped(sys.stdout), _wrapped(sys.stderr)
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


def console() -> Console:
    """A console for tables on stdout. If the reader has exited, it raises BrokenPipeError."""
    from rich.console import Console

    class _Plain(Console):
        def on_broken_pipe(self) -> None:  # rich would exit with the code 1
            raise BrokenPipeError

    return _Plain()


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


class _Wrapped:
    """A terminal's stream that breaks long lines between words."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._begun = ""  # a line without its end

    def __getattr__(self, name: str) -> object:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        """Write the lines that are complete, and keep the rest."""
        *lines, self._begun = (self._begun + text).split("\n")
        width = shutil.get_terminal_size().columns
        self._stream.write("".join(wrap(line, width) + "\n" for line in lines))
        return len(text)

    def flush(self) -> None:
        """Write everything."""
        begun, self._begun = self._begun, ""
        self._stream.write(begun)
        self._stream.flush()


def _wrapped(stream: TextIO) -> TextIO:
    if not stream.isatty():
        return stream
    wrapped: TextIO = _Wrapped(stream)  # type: ignore[assignment]  # all else is the stream's
    return wrapped


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
