"""Which layer to cut at: by name, by index, from the end, or found automatically."""

from __future__ import annotations

import difflib
from typing import NamedTuple

from encoder.errors import InputError
from encoder.graph import Graph, Step

_NAMES_IN_MESSAGE = 8


class Tap(NamedTuple):
    """A step to cut at and why it was chosen, in one sentence."""

    step: Step
    reason: str


def find_taps(graph: Graph, selector: str | int) -> list[Tap]:
    """The taps that a selector names, in its order.

    Args:
        graph: the traced model.
        selector: a layer's name, an index or negative index into ``model.layers``, "auto", or
            a comma-separated list of those.

    Raises:
        InputError: no such layer (close names are listed), or "auto" can't tell.
    """
    parts = [part.strip() for part in str(selector).split(",")]
    return [auto_tap(graph) if part == "auto" else _named_tap(graph, part) for part in parts]


def auto_tap(graph: Graph) -> Tap:
    """The deepest layer before the network widens again (decoder) or flattens (classifier).

    Raises:
        InputError: several layers fit, or none does.
    """
    encoder, widened = _encoder_part(graph)
    smallest = min((_area(step) for step in encoder), default=None)
    deepest = [step for step in encoder if _area(step) == smallest]
    inner = {id(tensor) for step in deepest for tensor in step.inputs}
    ends = [step for step in deepest if id(step.output) not in inner]
    if len(ends) == 1:
        return Tap(ends[0], _auto_reason(ends[0], widened))
    listed = ", ".join(f"{step.name} {step.shape[1:]}" for step in ends) or "none"
    raise InputError(
        f"auto can't tell which layer ends the encoder; candidates: {listed}. Name one with "
        "--layer; 'python -m encoder inspect MODEL' lists all layers"
    )


def _encoder_part(graph: Graph) -> tuple[list[Step], bool]:
    """Feature maps that no widening step comes before, and whether anything widens at all."""
    after_widening: set[int] = set()
    collapsed: set[int] = set()  # made from globally pooled or flattened values alone
    area: dict[int, int] = {}
    shrunk = False
    encoder = []
    largest = 0
    for step in graph.steps:
        if step.is_model:
            continue
        ids = [id(tensor) for tensor in step.inputs]
        if len(step.shape) != 4:
            collapsed.add(id(step.output))
            continue
        size = _area(step)
        if step.is_input:
            largest, area[id(step.output)] = size, size
            continue
        before = max((area[i] for i in ids if i in area), default=0)
        if any(i in after_widening for i in ids):
            after_widening.add(id(step.output))
        elif _pools_globally(step) or (ids and all(i in collapsed for i in ids)):
            if size > 1 and not _pools_globally(step) and before < size:
                after_widening.add(id(step.output))
            else:
                collapsed.add(id(step.output))
        elif shrunk and size > before and "Padding" not in type(step.layer).__name__:
            after_widening.add(id(step.output))
        else:
            shrunk = shrunk or size < largest
            encoder.append(step)
        area[id(step.output)] = size
        largest = max(largest, size)
    return encoder, bool(after_widening)


def _auto_reason(step: Step, widened: bool) -> str:
    shape = "x".join("?" if side is None else str(side) for side in step.shape[1:])
    if widened:
        return f"{step.name} ({shape}) is the deepest layer before the network widens again"
    return f"{step.name} ({shape}) is the last feature map of a network that never widens"


def _named_tap(graph: Graph, part: str) -> Tap:
    try:
        return _indexed_tap(graph, int(part))
    except ValueError as error:
        if isinstance(error, InputError):
            raise
    matches = [step for step in graph.steps if step.name == part]
    matches = matches or [step for step in graph.steps if step.name.endswith(f"/{part}")]
    if len(matches) == 1:
        return Tap(matches[0], f"{matches[0].name} was asked for by name")
    names = list(dict.fromkeys(step.name for step in graph.steps))
    if matches:
        raise InputError(
            f"layer {part!r} stands for {len(matches)} places in the network: "
            f"{', '.join(step.name for step in matches)}; name one of them in full"
        )
    close = difflib.get_close_matches(part, names, _NAMES_IN_MESSAGE, cutoff=0.5)
    hint = f"close names: {', '.join(close)}" if close else f"it has {', '.join(names[:8])}, …"
    raise InputError(f"the model has no layer {part!r}; {hint}")


def _indexed_tap(graph: Graph, index: int) -> Tap:
    if not -graph.layer_count <= index < graph.layer_count:
        raise InputError(
            f"layer index {index} is out of range: the model has {graph.layer_count} layers, "
            f"0 to {graph.layer_count - 1} or -{graph.layer_count} to -1"
        )
    wanted = index % graph.layer_count
    matches = [step for step in graph.steps if step.place == wanted]
    if len(matches) != 1:
        raise InputError(f"layer {index} is used {len(matches)} times in the network")
    return Tap(matches[0], f"{matches[0].name} is layer {index} of {graph.layer_count}")


def _pools_globally(step: Step) -> bool:
    return type(step.layer).__name__.startswith("Global")


def _area(step: Step) -> int:
    height, width = step.shape[1], step.shape[2]
    return (height or 0) * (width or 0)
