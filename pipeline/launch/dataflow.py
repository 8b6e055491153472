"""Check a job's options for Dataflow before anything is sent. Uses neither Beam nor the network.

A job that lacks one of these would be refused after minutes, or be started and fail on every
worker. Quotas, rights, and whether a zone has GPUs are known to Dataflow alone.
"""

from __future__ import annotations

import argparse
import dataclasses
import os
import re
from collections.abc import Mapping, Sequence

from encoder.errors import InputError
from encoder.terminal import Parser
from pipeline.launch.accelerators import Accelerator, accelerator_problems, parse_accelerator

REGION_VARIABLE = "CLOUDSDK_COMPUTE_REGION"  # of gcloud; Beam reads it, too
PRIME = "enable_prime"
_ACCELERATOR = "worker_accelerator="
_HINT = "accelerator="
_FOLDER = re.compile(r"gs://[a-z0-9][-_a-z0-9.]+[a-z0-9]/[^\n\r]*")
_BUCKET = re.compile(r"gs://[a-z0-9][-_a-z0-9.]+[a-z0-9]")
_FLEX_FILE = re.compile(r"/template_launches/(?P<job>[A-Za-z0-9_-]+)/job_object$")
_JOB_NAME = re.compile(r"[a-z]([-a-z0-9]*[a-z0-9])?")
_PROJECT = re.compile(r"[a-z][-a-z0-9:.]+[a-z0-9]")
# Beam's names of the options that are read here; tests compare them with Beam's parsers.
TEXTS = {
    "project": (),
    "region": (),
    "temp_location": (),
    "staging_location": (),
    "template_location": (),
    "job_name": (),
    "sdk_container_image": (),
    "worker_harness_container_image": (),
    "prebuild_sdk_container_engine": (),
    "machine_type": ("worker_machine_type",),
    "num_workers": (),
    "max_num_workers": (),
    "number_of_worker_harness_threads": (),
    "flexrs_goal": (),
    "create_from_snapshot": (),
    "dry_run": (),
}
LISTS = {
    "dataflow_service_options": ("dataflow_service_option",),
    "experiments": ("experiment",),
    "resource_hints": ("resource_hint",),
}
FLAGS = {"streaming": (), "update": ()}


@dataclasses.dataclass(frozen=True)
class DataflowOptions:
    """The options that the checks read, by Beam's names; "" and False for those not given."""

    project: str = ""
    region: str = ""
    temp_location: str = ""
    staging_location: str = ""
    template_location: str = ""
    job_name: str = ""
    sdk_container_image: str = ""
    worker_harness_container_image: str = ""
    prebuild_sdk_container_engine: str = ""
    machine_type: str = ""
    num_workers: str = ""
    max_num_workers: str = ""
    number_of_worker_harness_threads: str = ""
    flexrs_goal: str = ""
    create_from_snapshot: str = ""
    dry_run: str = ""
    dataflow_service_options: tuple[str, ...] = ()
    experiments: tuple[str, ...] = ()
    resource_hints: tuple[str, ...] = ()
    streaming: bool = False
    update: bool = False

    @classmethod
    def of(cls, values: Mapping[str, object]) -> DataflowOptions:
        """Take the options from values by name, as Beam's PipelineOptions give them."""
        texts = {name: str(values.get(name) or "") for name in TEXTS}
        lists = {name: _items(values.get(name)) for name in LISTS}
        flags = {name: str(values.get(name) or "false").lower() != "false" for name in FLAGS}
        return cls(**texts, **lists, **flags)  # type: ignore[arg-type]  # the names are the fields'

    @property
    def is_template(self) -> bool:
        """Whether the job is written to a file, and started from there any number of times."""
        return bool(self.template_location) and not flex_job(self.template_location)

    @property
    def accelerators(self) -> list[str]:
        """The accelerators of all workers, besides ``--gpu``."""
        found = [o.removeprefix(_ACCELERATOR) for o in self.dataflow_service_options if _is_gpu(o)]
        hints = [o.removeprefix(_HINT) for o in self.resource_hints if o.startswith(_HINT)]
        return [*found, *hints]


def parse_words(words: Sequence[str]) -> tuple[DataflowOptions, list[str]]:
    """The options among the words of a command line, and the words that are none of these."""
    values, rest = _parser().parse_known_args(list(words))
    return DataflowOptions.of(vars(values)), rest


def flex_job(template_location: str) -> str:
    """The id of the job that a Flex Template launches; "" if the file is another template.

    The launcher of Flex Templates has the program write the job to such a file, and starts it then,
    once.
    """
    found = _FLEX_FILE.search(template_location)
    return found["job"] if found else ""


def default_region() -> str:
    """The region of jobs without ``--region``: of gcloud's variable. gcloud itself is not asked."""
    return os.environ.get(REGION_VARIABLE, "")


def check_dataflow(options: DataflowOptions, gpu: Accelerator | None = None) -> None:
    """Check everything that Dataflow needs of a command line.

    Args:
        options: of the job.
        gpu: the GPUs of the embedding step; None for none.

    Raises:
        InputError: an option is missing or wrong. The message names all of them, and what to add.
    """
    problems = [
        *_missing(options),
        *_places(options),
        *_wrong(options),
        *_gpu_problems(options, gpu),
    ]
    if problems:
        raise InputError(f"the job can't run on Dataflow like this: {'; '.join(problems)}")


def check_batch(options: DataflowOptions) -> None:
    """Raise InputError if an option asks for a job that never ends."""
    wrong = {
        "--streaming": options.streaming,
        "--update": options.update,
        "--create_from_snapshot": bool(options.create_from_snapshot),
    }
    for option, given in wrong.items():
        if given:
            raise InputError(
                f"{option} is for streaming jobs, which never end; a run embeds what its inputs "
                f"list now, and ends. Leave {option} out, and start a run again when images came"
            )


def _missing(options: DataflowOptions) -> list[str]:
    problems = []
    if not options.project:
        problems.append("add --project=PROJECT, the id of the project that pays")
    if not options.region and not default_region():
        problems.append("add --region=REGION, such as europe-west4, where the buckets are")
    if not options.temp_location and not options.staging_location:
        problems.append("add --temp_location=gs://BUCKET/temp")
    image, older = options.sdk_container_image, options.worker_harness_container_image
    if image and older and image != older:
        problems.append(
            "leave --worker_harness_container_image out, the older name of --sdk_container_image"
        )
    if not image and not older and not options.prebuild_sdk_container_engine:
        problems.append(
            "add --sdk_container_image=IMAGE, built from the Dockerfile: Dataflow's own image has "
            "no TensorFlow, and every worker would fail"
        )
    return problems


def _places(options: DataflowOptions) -> list[str]:
    problems = []
    for name in ("temp_location", "staging_location", "template_location"):
        text = getattr(options, name)
        if not text or _FOLDER.fullmatch(text):
            continue
        wanted = f"{text}/temp" if _BUCKET.fullmatch(text) else "gs://BUCKET/FOLDER"
        problems.append(f"--{name} is {text!r}; expected such as {wanted}")
    if options.template_location.endswith("/"):
        problems.append("--template_location is a folder; expected a file, gs://BUCKET/FOLDER/NAME")
    if options.template_location and options.dry_run:
        problems.append("leave --dry_run out, which writes nothing, or --template_location")
    return problems


def _wrong(options: DataflowOptions) -> list[str]:
    problems = []
    if options.project.isdecimal():
        problems.append(f"--project is {options.project}, a number; expected the project's id")
    elif options.project and not _PROJECT.fullmatch(options.project):
        problems.append(f"--project is {options.project!r}; expected a project's id")
    if options.job_name and not _JOB_NAME.fullmatch(options.job_name):
        problems.append(
            f"--job_name is {options.job_name!r}; expected small letters, digits and '-', first a "
            "letter"
        )
    counts = {}
    for name in ("num_workers", "max_num_workers"):
        text = getattr(options, name)
        if text and not re.fullmatch(r"[1-9]\d*", text):
            problems.append(f"--{name} is {text}; expected 1 or more")
        elif text:
            counts[name] = int(text)
    if len(counts) == 2 and counts["num_workers"] > counts["max_num_workers"]:
        problems.append(
            f"--num_workers is {options.num_workers}, more than --max_num_workers "
            f"{options.max_num_workers}"
        )
    return problems


def _gpu_problems(options: DataflowOptions, gpu: Accelerator | None) -> list[str]:
    others = [parse_accelerator(text, options.machine_type) for text in options.accelerators]
    asked = [*([gpu] if gpu else []), *others]
    problems = []
    if len(asked) > 1:
        problems.append(f"{asked[0].kind} and {asked[1].kind} are both asked for; give one")
    for each in asked[:1]:
        problems += accelerator_problems(each)
    if options.flexrs_goal and (gpu or options.resource_hints):
        problems.append(
            "leave --flexrs_goal out: FlexRS does not take GPUs of one step (resource hints)"
        )
    return problems


def _is_gpu(option: str) -> bool:
    return option.startswith(_ACCELERATOR)


def _items(value: object) -> tuple[str, ...]:
    if isinstance(value, Mapping):
        return tuple(f"{name}={each}" for name, each in value.items())
    if isinstance(value, str):
        return (value,)
    return tuple(map(str, value)) if isinstance(value, Sequence) else ()


def _parser() -> argparse.ArgumentParser:
    parser = Parser(add_help=False, allow_abbrev=False)
    for name, others in TEXTS.items():
        parser.add_argument(*_options(name, others), dest=name, default="")
    for name, others in LISTS.items():
        parser.add_argument(
            *_options(name, others), dest=name, action="extend", type=_split, default=[]
        )
    for name, others in FLAGS.items():
        parser.add_argument(*_options(name, others), dest=name, nargs="?", const="true", default="")
    return parser


def _split(text: str) -> list[str]:
    """Items between commas, as Beam reads them: after a second "=", commas belong to the item."""
    items: list[str] = []
    for piece in text.split(","):
        if items and items[-1].count("=") > 1:
            items[-1] += f",{piece}"
        else:
            items.append(piece)
    return [item.strip() for item in items if item.strip()]


def _options(name: str, others: tuple[str, ...]) -> list[str]:
    return [f"--{each}" for each in (name, *others)]
