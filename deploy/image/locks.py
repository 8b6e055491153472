"""Write requirements-EXTRA.lock for each extra: what it needs besides requirements.lock.

Run it with ``make lock``; it needs uv. All extras fit together, because each takes the versions of
requirements-dev.lock where that has them.
"""

from __future__ import annotations

import pathlib
import re
import subprocess
import sys

ROOT = pathlib.Path(__file__).parents[2]
EXTRAS = ("cuda", "heic", "jax", "jax-cuda", "s3", "savedmodel")
_COMPILE = (
    *("uv", "pip", "compile", "pyproject.toml", "--universal", "--python-version", "3.10"),
    *("--generate-hashes", "--no-annotate", "--no-header", "--quiet"),
    *("--constraint", "requirements-dev.lock"),
)


def requirements(lock: str) -> list[str]:
    """The requirements of a lock, each with its hashes: one or several lines, with line ends."""
    return re.findall(r"^[^\s#-].*\n(?:    .*\n)*", lock, re.M)


def only_in(lock: str, base: str) -> str:
    """The requirements of a lock that are not in the base, as a lock.

    Raises:
        ValueError: the lock has other versions than the base; both could not be installed together.
    """
    known = set(requirements(base))
    versions: dict[str, set[str]] = {}
    for each in known:
        versions.setdefault(_name(each), set()).add(each)
    added = [each for each in requirements(lock) if each not in known]
    for each in added:
        if _name(each) in versions:
            raise ValueError(
                f"{each.splitlines()[0]} differs from requirements.lock; expected the same version"
            )
    return "".join(added)


def _name(requirement: str) -> str:
    return requirement.partition("==")[0].partition("[")[0]


def main() -> None:
    """Write all locks."""
    base = (ROOT / "requirements.lock").read_text()
    for extra in EXTRAS:
        done = subprocess.run(
            [*_COMPILE, "--extra", extra], capture_output=True, text=True, cwd=ROOT, check=False
        )
        if done.returncode:
            sys.exit(done.stderr)
        path = ROOT / f"requirements-{extra}.lock"
        path.write_text(only_in(done.stdout, base))


if __name__ == "__main__":
    main()
