"""Make the zoo, file after file, and check each: ``python -m tests.zoo --versions 2.15 3.5``.

What was found is kept in tests/zoo/found, so that a run that was stopped goes on where it was. One
after a change of the code begins anew, unless it is told to --keep what was right. At the end, the
table in docs/models.md is written.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time

from tests.zoo.outcomes import KINDS
from tests.zoo.table import PAGE, write
from tests.zoo.versions import VERSIONS


def main() -> int:
    """Run each version in a process of its own, then write the table."""
    parser = argparse.ArgumentParser(prog="python -m tests.zoo", description=__doc__)
    parser.add_argument("--versions", nargs="*", default=[], help=f"of {', '.join(VERSIONS)}")
    parser.add_argument("--kinds", nargs="*", default=list(KINDS), help="of what is made")
    parser.add_argument("--only", default="", help="the beginning of names")
    parser.add_argument("--largest", default="400e6", help="parameters of a network at most")
    parser.add_argument("--keep", action="store_true", help="what was right by an earlier code")
    options = parser.parse_args()
    faults = 0
    for version in options.versions or VERSIONS:
        start = time.monotonic()
        words = [version, ",".join(options.kinds), options.only, options.largest]
        command = [sys.executable, "-m", "tests.zoo.run", *words, *(["keep"] * options.keep)]
        environment = {**os.environ, "CUDA_VISIBLE_DEVICES": "-1"}
        faults += subprocess.run(command, check=False, env=environment).returncode != 0
        print(f"{version}: {(time.monotonic() - start) / 60:.1f} minutes", flush=True)
    if not options.versions and "application" in options.kinds:
        command = [sys.executable, "-m", "tests.zoo.real", *(["keep"] * options.keep)]
        faults += subprocess.run(command, check=False).returncode != 0
    if write(options.keep):
        print(f"{PAGE} was written")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
