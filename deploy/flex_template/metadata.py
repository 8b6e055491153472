"""Write what Dataflow knows of the Flex Template: its parameters, from the parser of ``run``.

    python -m deploy.flex_template.metadata                    # writes metadata.json, kept in git
    python -m deploy.flex_template.metadata --image IMAGE      # prints the template's specification

A parameter is named like its option, with underscores: ``batch_size`` for ``--batch-size``. A flag
is ``true`` or ``false``. An option that may be given several times takes its values in one
parameter, separated by ``|``. launch.py turns parameters into options again.
"""

from __future__ import annotations

import argparse
import json
import pathlib
import sys
from typing import NamedTuple

from pipeline import options
from pipeline.cli.parser import build_parser

FILE = pathlib.Path(__file__).with_name("metadata.json")
SEPARATOR = "|"
# Options that launch.py sets itself, or that concern only the terminal. A template names no run:
# each launch makes its own name.
LEFT_OUT = {"help", "no_wait", "run_id", "verbose"}
_REMOTE = r"[a-z][a-z0-9]*://[^|]+"
_PATTERNS = {
    "--input": _REMOTE,
    "--encoder": r"gs://[^|]+",
    "--output": r"gs://[^|]+",
    "--gpu": r"[a-z0-9-]+(:[1-9][0-9]*)?",
    "--max-failure-ratio": r"0(\.[0-9]+)?|1(\.0+)?",
}
_PATTERNS_OF_TYPES = {
    int: r"[1-9][0-9]*",
    float: r"[0-9]+(\.[0-9]+)?",
    options.parse_share: r"all|[0-9]+(\.[0-9]+)?%?",
    options.parse_column_type: r"[^|]+=(string|int64|uint64|float64|bool|date|timestamp)",
    options.parse_delimiter: r"tab|comma|semicolon|pipe|space|[^|]",
    None: r"[^|]+",
}
WORKER_IMAGE = {
    "name": "sdk_container_image",
    "label": "Worker image",
    "helpText": "The image of workers. By default, the image of the template itself.",
    "isOptional": True,
    "regexes": [r"^[a-z0-9][a-z0-9._:/@-]+$"],
}


class Parameter(NamedTuple):
    """One parameter of the template.

    Attributes:
        name: with underscores.
        option: the option of ``run``, with hyphens.
        is_flag: whether the option takes no value.
        is_repeated: whether the option may be given several times.
    """

    name: str
    option: str
    is_flag: bool
    is_repeated: bool


def run_actions() -> list[argparse.Action]:
    """The options of ``run`` that the template has."""
    (commands,) = (action for action in build_parser()._actions if action.choices)
    run = commands.choices["run"]  # type: ignore[index,call-overload]
    return [action for action in run._actions if action.dest not in LEFT_OUT]


def parameters() -> list[Parameter]:
    """All parameters that stand for an option of ``run``."""
    return [
        Parameter(
            name=name_of(action),
            option=action.option_strings[0],
            is_flag=action.nargs == 0,
            is_repeated=isinstance(action, argparse._AppendAction),
        )
        for action in run_actions()
    ]


def name_of(action: argparse.Action) -> str:
    """The name of an option's parameter."""
    return action.option_strings[0].removeprefix("--").replace("-", "_")


def pattern_of(action: argparse.Action) -> str:
    """The regular expression for the whole text of a parameter."""
    if action.nargs == 0:
        return "^(true|false)$"
    if action.choices:
        one = "|".join(action.choices)
    else:
        one = _PATTERNS.get(action.option_strings[0]) or _PATTERNS_OF_TYPES[action.type]  # type: ignore[index]
    if isinstance(action, argparse._AppendAction):
        return rf"^({one})(\|({one}))*$"
    return f"^({one})$"


def metadata() -> dict[str, object]:
    """The metadata of the template, as in metadata.json."""
    return {
        "name": "Image collection embeddings",
        "description": "Embeds new and changed images of a collection with an encoder bundle, and "
        "removes the rows of images that are gone.",
        "streaming": False,
        "parameters": [*map(_entry, run_actions()), WORKER_IMAGE],
    }


def _entry(action: argparse.Action) -> dict[str, object]:
    """The metadata of one parameter."""
    text = (action.help or "") % {"default": action.default, "prog": "run"}
    if isinstance(action, argparse._AppendAction):
        text += f" (separate several by {SEPARATOR})"
    entry: dict[str, object] = {
        "name": name_of(action),
        "label": name_of(action).replace("_", " ").capitalize(),
        "helpText": text[:1].upper() + text[1:].removesuffix(".") + ".",
        "isOptional": not action.required,
        "regexes": [pattern_of(action)],
    }
    default = _default_text(action)
    if default:
        entry["defaultValue"] = default
    return entry


def _default_text(action: argparse.Action) -> str:
    if action.nargs == 0:
        return str(bool(action.default)).lower()
    if not action.default or isinstance(action.default, list):
        return ""
    return f"{action.default:g}" if isinstance(action.default, float) else str(action.default)


def specification(image: str) -> dict[str, object]:
    """The file that ``gcloud dataflow flex-template run`` reads."""
    return {
        "image": image,
        "sdkInfo": {"language": "PYTHON"},
        "metadata": metadata(),
        "defaultEnvironment": {"sdkContainerImage": image},
    }


def main() -> None:
    """Write metadata.json, or print the specification."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--image", help="print the specification of a template with this image")
    image = parser.parse_args().image
    if image:
        json.dump(specification(image), sys.stdout, indent=2)
        print()
    else:
        FILE.write_text(json.dumps(metadata(), indent=2) + "\n")


if __name__ == "__main__":
    main()
