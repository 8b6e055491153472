"""docs/operations.md agrees with the code: measures, metrics, alerts, commands, exit codes."""

import pathlib
import re
import shlex
import typing

import yaml

import pipeline.__main__
from pipeline.dataset.manifest_file import Phase
from pipeline.measures import MEASURES
from pipeline.upkeep.openmetrics import HELP, PREFIX

ROOT = pathlib.Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "operations.md").read_text()


def blocks(kind):
    return re.findall(rf"```{kind}\n(.*?)```", PAGE, re.S)


def test_every_measure_and_phase_is_explained():
    rows = re.findall(r"^\| (`\w+`(?:, `\w+`)*) \|", PAGE, re.M)
    named = {name for row in rows for name in re.findall(r"`(\w+)`", row)}
    assert set(MEASURES) <= named
    for phase in typing.get_args(Phase):
        assert f"`{phase}`" in PAGE


def test_commands_parse():
    parser = pipeline.__main__.build_parser()
    lines = [
        line
        for block in blocks("sh")
        for line in block.splitlines()
        if line.startswith("python -m pipeline")
    ]
    assert len(lines) >= 6
    for line in lines:
        words = shlex.split(re.split(r" #|;| \|", line)[0])[3:]
        assert not parser.parse_known_args(words)[1]


def test_alerts_use_metrics_that_exist():
    (rules,) = blocks("yaml")
    (group,) = yaml.safe_load(rules)["groups"]
    assert len(group["rules"]) >= 5
    for rule in group["rules"]:
        names = re.findall(rf"{PREFIX}_(\w+)", rule["expr"])
        assert names
        assert set(names) <= set(HELP)
        assert rule["labels"]["severity"] in ("page", "ticket")
        assert rule["annotations"]["summary"]
        for measure in re.findall(r'measure="(\w+)"', rule["expr"]):
            assert measure in MEASURES


def test_symptoms_are_messages_of_the_code():
    """The parts of quoted messages, without what stands for names and numbers."""
    text = "\n".join(
        path.read_text()
        for package in ("encoder", "pipeline")
        for path in ROOT.glob(f"{package}/**/*.py")
    )
    text = re.sub(r'"\n\s*f?"', "", text)  # strings over several lines
    section = PAGE.partition("By symptom")[2].partition("\n`--verbose`")[0]
    symptoms = re.findall(r"^\| ([^|]*) \|", section, re.M)[1:]
    assert len(symptoms) >= 10
    for symptom in symptoms:
        for message in re.findall(r"`([^`]+)`", symptom):
            if message in ("read", "decode", "embed", "No space left on device"):
                continue  # the last one is the system's
            for part in re.split(r" ?… ?|--input", message):
                assert part in text, part


def test_all_exit_codes_are_explained():
    codes = re.findall(r"^\| ([\d, ]+) \|", PAGE, re.M)
    assert {int(code) for row in codes for code in row.split(",")} == {0, 1, 2, 130, 137, 141, 143}
