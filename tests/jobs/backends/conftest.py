"""Programs in processes of their own, since Keras takes one backend a process."""

import json
import os
import pathlib
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).parents[3]


@pytest.fixture
def in_process(tmp_path):
    """Run code, which sets ``found``, under other environment variables; gives what it found."""

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
