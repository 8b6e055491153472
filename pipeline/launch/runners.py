"""The names of Beam's runners, and those that a job must not run on. Does not import Beam."""

from __future__ import annotations

from encoder.errors import InputError
from pipeline.options import DATAFLOW, IN_PROCESS, PORTABLE

# What was seen with Beam 2.77; docs/runners.md has the details.
_REFUSED = {
    "DaskRunner": "reports success although it loses elements",
    "BundleBasedDirectRunner": "gives steps wrong side inputs",
    "InteractiveRunner": "is for notebooks, and rewrites the job",
}
_KNOWN = (DATAFLOW, *IN_PROCESS, *PORTABLE, *_REFUSED, "PrismRunner")
_BY_LOWER_CASE = {
    **{name.lower(): name for name in _KNOWN},
    "switchingdirectrunner": "DirectRunner",  # the class behind the name
}


def runner_name(given: str) -> str:
    """The name of a runner, as the rest of the job compares it.

    Args:
        given: the value of --runner. As Beam does, this takes a name in any case, with or without
            "Runner", or the path of a class.
    """
    last = given.rpartition(".")[2].lower()
    return _BY_LOWER_CASE.get(last) or _BY_LOWER_CASE.get(f"{last}runner") or given


def checked_runner(given: str) -> str:
    """The name of a runner, as runner_name gives it.

    Raises:
        InputError: a run on this runner would lose or repeat images.
    """
    name = runner_name(given)
    if name in _REFUSED:
        raise InputError(
            f"--runner {given!r} can't be used: Beam's {name} {_REFUSED[name]}; leave out --runner "
            "to run on this machine, or see docs/runners.md for those that were tested"
        )
    return name
