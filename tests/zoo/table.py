"""Write what was found as tables, into docs/models.md."""

from __future__ import annotations

import pathlib
from collections.abc import Iterable, Iterator, Mapping

from tests.zoo.making.layer_table import LEFT_OUT
from tests.zoo.outcomes import KINDS, REFUSED, Outcome, Results
from tests.zoo.packages import REAL
from tests.zoo.versions import VERSIONS

PAGE = pathlib.Path(__file__).parents[2] / "docs" / "models.md"
BEGIN, END = "<!-- made by make test-models -->", "<!-- end of what make test-models made -->"
HEADER = f"| Keras | {' | '.join(f'{kind}s' for kind in KINDS)} |"
REAL_HEADER = "| package | file | by Keras | `auto` took | difference |"
_RULE = "|---|---|---|---|"


def write(keep: bool = False) -> bool:
    """Put the tables into the page, if every version has outcomes of this code.

    Args:
        keep: write them also if not, with what is there of an earlier code.

    Returns:
        Whether the page was written.
    """
    found = {version: Results.read(version, keep) for version in (*VERSIONS, "real")}
    if not keep and not all(results.outcomes for results in found.values()):
        return False
    text = PAGE.read_text()
    before, after = text.partition(BEGIN)[0], text.partition(END)[2]
    body = "\n".join(lines(found))
    PAGE.write_text(f"{before}{BEGIN}\n{body}\n{END}{after}")
    return True


def lines(found: Mapping[str, Results]) -> Iterator[str]:
    """The lines of both tables, and what is to be said with them."""
    versions = {name: found[name] for name in VERSIONS}
    yield from (HEADER, _RULE)
    for name, results in versions.items():
        cells = [_cell(each for each in results.outcomes if each.kind == kind) for kind in KINDS]
        yield f"| {_version(name, results)} | {' | '.join(cells)} |"
    everything = [each for results in versions.values() for each in results.outcomes]
    yield from ("", *_wrapped("Layers in all of these files: ", _good_layers(everything)))
    refused = list(_refused(everything))
    if refused:
        yield from ("", "Refused, by name:", "", *refused)
    faults = list(_faults(versions))
    if faults:
        yield from ("", "Not right yet:", "", *faults)
    too_large = sorted({each.name for each in everything if each.status == "left out"})
    if too_large:
        yield from ("", *_wrapped("Not tried, because they are large: ", too_large))
    unjudged = sorted({each.name for each in everything if each.status == "not judged"})
    if unjudged:
        start = "Not judged, because their random weights amplify the smallest difference: "
        yield from ("", *_wrapped(start, unjudged))
    yield from ("", "Layers that are not in these files:", "")
    reasons = dict.fromkeys(LEFT_OUT.values())
    for reason in reasons:
        names = [name for name, why in LEFT_OUT.items() if why == reason]
        yield from _wrapped(f"- {reason}: ", names)
    yield from (
        "",
        "Trained networks that packages on PyPI carry:",
        "",
        REAL_HEADER,
        f"{_RULE}---|",
    )
    outcomes = {each.name: each for each in found["real"].outcomes}
    for real in REAL:
        each = outcomes.get(real.package)
        took, detail = _took(each) if each else ("not run", "")
        file = real.member.rpartition("/")[2]
        yield f"| {real.package.replace('==', ' ')} | `{file}` | {real.keras} | {took} | {detail} |"


def _took(each: Outcome) -> tuple[str, str]:
    """What the table says of the layer and of the difference."""
    if each.status == "ok":
        return f"`{each.layer}`", each.detail
    status = "refused" if each.status == "refused" else "wrong"
    return status, f"{each.layer} {each.detail}".strip().replace("|", "/").split(" If you ")[0]


def _version(name: str, results: Results) -> str:
    module = VERSIONS[name].module
    number = results.version or name.replace("-today", ".x")
    return f"{number}{' (tf-keras)' if module == 'tf_keras' else ''}"


def _cell(outcomes: Iterable[Outcome]) -> str:
    """How many files of each kind are right, and how many are not."""
    found = list(outcomes)
    parts = []
    for file in dict.fromkeys(each.file for each in found if each.status in ("ok", "refused")):
        of_file = [each.status for each in found if each.file == file]
        parts.append(f"{of_file.count('ok')} {file}")
    for status in ("refused", "FAULT"):
        count = sum(each.status == status for each in found)
        if count:
            parts.append(f"{count} {'refused' if status == 'refused' else 'wrong'}")
    return ", ".join(parts) or "not run"


def _good_layers(outcomes: list[Outcome]) -> list[str]:
    """The classes that are never at fault, whatever the version and the file."""
    layers = [each for each in outcomes if each.kind == "layer"]
    bad = {each.name.partition(":")[0] for each in layers if each.status in ("FAULT", "refused")}
    good = {each.name.partition(":")[0] for each in layers if each.status == "ok"}
    return sorted(good - bad)


def _refused(outcomes: list[Outcome]) -> Iterator[str]:
    for (kind, name), reason in REFUSED.items():
        same = [each for each in outcomes if (each.kind, each.name) == (kind, name)]
        files = sorted({each.file for each in same if each.status == "refused"})
        if files:
            yield f"- `{name}` ({', '.join(files)}): {reason}."


def _faults(versions: Mapping[str, Results]) -> Iterator[str]:
    found: dict[tuple[str, str], list[str]] = {}
    for name, results in versions.items():
        for each in results.outcomes:
            if each.status == "FAULT":
                place = f"{_version(name, results)} {each.file}"
                found.setdefault((each.kind, each.name), []).append(place)
    for (kind, name), places in found.items():
        yield f"- {kind} {name}: {', '.join(places)}"


def _wrapped(start: str, names: Iterable[str], width: int = 100) -> Iterator[str]:
    """A list of names in lines of a page."""
    line = start
    for word in ", ".join(names).split(" "):
        if len(line) + len(word) >= width:
            yield line.rstrip()
            line = "  " if start.startswith("- ") else ""
        line += f"{word} "
    yield line.rstrip() + "."
