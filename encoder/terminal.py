"""Terminal output: one line per error, and none of the libraries' own messages."""

from __future__ import annotations

import atexit
import contextlib
import gc
import os
import sys
import tempfile
import traceback
from collections.abc import Iterator
from typing import NoReturn

from encoder.errors import InputError


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
    if verbose:
        traceback.print_exception(error)
    if isinstance(error, foreseen):
        print(f"error: {error}", file=sys.stderr)
    else:
        print(f"error: {type(error).__name__}: {error}", file=sys.stderr)
        print("this was not foreseen; --verbose shows where it came from", file=sys.stderr)
    return 2 if isinstance(error, InputError) else 1


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
        except OSError:  # the reader has exited, as in "| head", or the disk is full
            code = code or 1
    os._exit(code)


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
