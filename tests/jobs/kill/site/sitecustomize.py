"""Python runs this file at the start of every worker process. See tests/jobs/kill/launcher.py."""

import json
import os
import pathlib
import sys

if "KILL_AT" in os.environ:
    sys.path.insert(0, str(pathlib.Path(__file__).parents[4]))
    from tests.jobs.kill import launcher, points

    points.install(launcher.Actions(json.loads(os.environ["KILL_AT"])).reached)
