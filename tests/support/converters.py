"""Converts files of Keras 2 as ``extract`` does, without starting Python and TensorFlow each time.

A process that has imported tf-keras forks for each file. The fork runs the same program as the
process that ``extract`` starts: encoder.model_files.converter.
"""

from __future__ import annotations

import functools
import io
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from typing import Any
from unittest import mock

from encoder.model_files import converter, saved_model


class Converters:
    """Stands in for the module subprocess in encoder.model_files.saved_model."""

    @functools.cached_property
    def _process(self) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-m", __name__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": "-1"},
        )

    def run(
        self, command: list[str], *, input: str, env: Mapping[str, str], **_: Any
    ) -> subprocess.CompletedProcess[str]:
        """Do what subprocess.run does with the converter's command."""
        assert command == [sys.executable, "-m", converter.__name__]
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps([input, env["TMPDIR"]]) + "\n")
        self._process.stdin.flush()
        code, errors = json.loads(self._process.stdout.readline())
        return subprocess.CompletedProcess(command, code, "", errors)

    def close(self) -> None:
        """End the process, if it was started."""
        if "_process" in vars(self):
            with self._process:
                self._process.stdin.close()

    def in_use(self) -> Any:
        """A context in which files are converted so."""
        return mock.patch.object(saved_model, "subprocess", self)


def main() -> None:
    """Answer each request, a line of JSON, with an exit code and what went to standard error."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    import tf_keras  # noqa: F401  (before the forks)

    for line in sys.stdin:
        request, folder = json.loads(line)
        with tempfile.TemporaryFile() as errors:
            child = os.fork()
            if child == 0:
                _convert(request, folder, errors.fileno())
            _, status = os.waitpid(child, 0)
            errors.seek(0)
            text = errors.read().decode(errors="replace")
        answers.write(json.dumps([os.waitstatus_to_exitcode(status), text]) + "\n")
        answers.flush()


def _convert(request: str, folder: str, errors: int) -> None:
    """Run the converter in this process, and end it."""
    code = 1
    try:
        os.dup2(errors, 2)
        sys.stderr = os.fdopen(2, "w", closefd=False)
        sys.stdin = io.StringIO(request)
        tempfile.tempdir = os.environ["TMPDIR"] = folder
        converter.main()
        code = 0
    except SystemExit as end:
        sys.stderr.write(str(end.code))
    finally:
        sys.stderr.flush()
        os._exit(code)


if __name__ == "__main__":
    main()
