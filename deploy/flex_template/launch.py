"""What a Flex Template runs in its image: ``python -m pipeline run`` on Dataflow, without waiting.

Dataflow's launcher calls it with one ``--name=value`` per parameter and with options of Beam. The
parameters are those of metadata.json. It imports nothing else of this folder, because the image has
only this file.
"""

from __future__ import annotations

import argparse
import os
import sys

from pipeline.__main__ import main
from pipeline.cli.parser import build_parser

SEPARATOR = "|"
# The name of this image; `deploy/build.sh` puts it there.
IMAGE = "EMBED_IMAGES_IMAGE"


def options_of(words: list[str], image: str = "") -> list[str]:
    """The command line of ``python -m pipeline`` for a launch.

    Args:
        words: ``--name=value`` for each parameter and each option of Beam. Parameters without a
            value count as not given.
        image: the image of workers, if no word names one.

    Raises:
        ValueError: a flag has another value than true or false.
    """
    (commands,) = (action for action in build_parser()._actions if action.choices)
    known = {
        action.option_strings[0].removeprefix("--").replace("-", "_"): action
        for action in commands.choices["run"]._actions  # type: ignore[index,call-overload]
    }
    line = ["run"]
    given = set()
    for word in words:
        name, equals, value = word.removeprefix("--").partition("=")
        given.add(name)
        action = known.get(name.replace("-", "_"))
        if action is None or not equals:
            line.append(word)
            continue
        option = action.option_strings[0]
        if action.nargs == 0:
            if value.lower() not in ("true", "false", ""):
                raise ValueError(f"{name} is {value!r}; expected true or false")
            line += [option] if value.lower() == "true" else []
        elif isinstance(action, argparse._AppendAction):
            line += [f"{option}={each}" for each in value.split(SEPARATOR) if each]
        elif value:
            line.append(f"{option}={value}")
    if "runner" not in given:
        line.append("--runner=DataflowRunner")
    if image and "sdk_container_image" not in given:
        line.append(f"--sdk_container_image={image}")
    return [*line, "--no-wait"]


def launch() -> int:
    """Submit the job. Returns the exit code of ``python -m pipeline run``."""
    try:
        line = options_of(sys.argv[1:], os.environ.get(IMAGE, ""))
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return main(line)


if __name__ == "__main__":
    sys.exit(launch())
