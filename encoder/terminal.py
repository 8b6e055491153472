"""What people see at the terminal: one line for an error, and no chatter of libraries."""

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
    """Nothing reaches stderr while the block runs, not from C++ nor from child processes either.

    Args:
        tell_errors: show after all what was held back where the block raises.
    """
    sys.stderr.flush()
    stderr = os.dup(2)
    with tempfile.TemporaryFile() as heard:
        os.dup2(heard.fileno(), 2)
        try:
            yield
        except BaseException:
            if tell_errors:
                heard.seek(0)
                os.write(stderr, heard.read())
            raise
        finally:
            os.dup2(stderr, 2)
            os.close(stderr)


def report(error: BaseException, foreseen: tuple[type[BaseException], ...], verbose: bool) -> int:
    """Say in one line on stderr what went wrong; gives the exit code of a command.

    Args:
        error: what a command raised.
        foreseen: kinds of errors whose message is meant for users as it is.
        verbose: print the traceback, too.
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
    """End this process with an exit code, once libraries have tidied up and all printed is out.

    Python itself isn't taken down in an orderly way: a thread of Arrow that lets go of a buffer
    just then asks for an interpreter that is going away, and that aborts a process whose work was
    done. A test in a hundred saw it, one in six on a busy machine.
    """
    atexit._run_exitfuncs()  # such as those that remove temporary files
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:  # the reader is gone, as with "| head", or the disk is full
            code = code or 1
    os._exit(code)


@contextlib.contextmanager
def quick_imports() -> Iterator[None]:
    """Import large libraries in this block: it takes a fifth less time.

    The garbage collector would look through what they make over and over, and find none. What is
    there at the end stays as long as the process, so it isn't looked at later either.
    """
    collecting = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collecting:
            gc.freeze()
            gc.enable()
