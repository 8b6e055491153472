"""Programs that some tests call and that are no Python packages."""

import os
import shutil

import pytest


def needs(program: str, package: str) -> pytest.MarkDecorator:
    """A mark that skips tests where a program is missing, but lets them fail in CI.

    Args:
        program: the name of the program.
        package: the package of Debian that has it; ``.ci/run`` installs these.
    """
    missing = shutil.which(program) is None and "CI" not in os.environ
    return pytest.mark.skipif(missing, reason=f"{program} is missing: apt install {package}")
