"""Python runs this at the start of every worker process; see tests/kill/launcher.py."""

import json
import os
import pathlib
import sys

if "KILL_AT" in os.environ:
    sys.path.insert(0, str(pathlib.Path(__file__).parents[3]))
    from tests.kill import launcher, points

    points.install(launcher.Actions(json.loads(os.environ["KILL_AT"])).reached)
