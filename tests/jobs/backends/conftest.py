"""Runs code in new processes, since Keras has one backend per process."""

import json
import os
import pathlib
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).parents[3]


@pytest.fixture
def in_process(tmp_path):
    """Run code in a new process with these environment variables; returns its ``found``."""

    def run(code, **environment):
        result = tmp_path / "result.json"
        lines = [
            "from encoder.compute.keras_setup import import_keras",
            "import_keras()",
            "import json, sys, keras, numpy as np, encoder",
            code,
            f"json.dump(found, open({str(result)!r}, 'w'))",
        ]
        done = subprocess.run(
            [sys.executable, "-c", "\n".join(lines)],
            capture_output=True,
            text=True,
            cwd=ROOT,
            env={**os.environ, **environment},
        )
        assert done.returncode == 0, done.stderr
        return json.loads(result.read_text())

    return run
