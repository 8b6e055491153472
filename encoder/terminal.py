"""What people see at the terminal: one line for an error, and no chatter of libraries."""

from __future__ import annotations

import atexit
import contextlib
import importlib.util
import os
import sys
import tempfile
import traceback
from collections.abc import Iterator
from typing import NoReturn

from encoder.compute.cores import usable_cores
from encoder.errors import InputError
from encoder.imports import quick_imports

_SILENT = "3"
_BACKENDS = ("tensorflow", "jax")


def check_backend() -> None:
    """Raise InputError where KERAS_BACKEND names none that there is; quick, nothing is imported."""
    name = os.environ.get("KERAS_BACKEND", _BACKENDS[0])
    if name not in _BACKENDS:
        raise InputError(f"KERAS_BACKEND is {name!r}; expected one of {', '.join(_BACKENDS)}")
    if importlib.util.find_spec(name) is None:
        raise InputError(f"KERAS_BACKEND is {name!r}, which is not installed: pip install {name}")


def import_keras() -> None:
    """Import Keras and its backend; what is printed meanwhile is shown only if the import fails.

    TensorFlow's first messages are written before its own log level takes effect, so nothing but
    a closed ear helps. Whoever sets TF_CPP_MIN_LOG_LEVEL below 3 hears everything as usual.

    oneDNN computes the convolutions, also on CPUs without AVX-512, where TensorFlow's default is
    Eigen: it is faster there, too, and Eigen's last bits depend on the place in the batch.
    TensorFlow heeds affinity, but not a container's share of the cores, so it is told. JAX would
    take most of a GPU's memory at once.
    """
    check_backend()
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
    os.environ.setdefault("TF_NUM_INTRAOP_THREADS", str(usable_cores()))
    os.environ.setdefault("KERAS_BACKEND", "tensorflow")
    quiet = os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", _SILENT) == _SILENT
    with quick_imports(), silenced_stderr(True) if quiet else contextlib.nullcontext():
        import keras

    if keras.backend.backend() != "tensorflow":
        # Keras would import it, where it is installed, just to compare types.
        from keras.src.utils import module_utils

        module_utils.tensorflow._available = False


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
