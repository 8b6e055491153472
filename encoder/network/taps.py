"""Find the layer to cut at: by name, by index, from the end, or automatically."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from encoder.errors import InputError
from encoder.network.graph import Graph, LeftOut, Step
from encoder.network.layout import channels_first
from encoder.stand_ins import WAY_ON

_NAMES_IN_MESSAGE = 8
_POOLED_SIDE = 4  # pixels; a step from at least this side to 1x1 is a global pooling

Selector = str | int | Sequence[str | int]


class Tap(NamedTuple):
    """A step to cut at, and the reason for its choice in one sentence."""

    step: Step
    reason: str


def find_taps(graph: Graph, selector: Selector) -> list[Tap]:
    """The taps that a selector names, in the selector's order.

    Args:
        graph: the traced model.
        selector: a layer's name, an index or negative index into ``model.layers``, "auto", or
            several of these, as a list or separated by commas.

    Raises:
        InputError: there is no such layer (the message lists close names), a name or index stands
            for several uses of a layer, or "auto" finds none or several.
    """
    chosen = selector if isinstance(selector, list | tuple) else str(selector).split(",")
    parts = [str(part).strip() for part in chosen]
    if not all(parts):
        raise InputError(f"layer {selector!r} names nothing in one of its parts")
    return [auto_tap(graph) if part == "auto" else _named_tap(graph, part) for part in parts]


def auto_tap(graph: Graph) -> Tap:
    """The deepest layer before the network widens again (decoder) or flattens (classifier).

    Raises:
        InputError: several layers fit, or none does.
    """
    if channels_first(graph):
        raise InputError(
            "auto can't tell which layer ends the encoder: the network has layers with "
            "data_format 'channels_first', and auto compares heights and widths where other "
            "layers have them. Name a layer with --layer"
        )
    sized = graph.sized
    steps = sized.steps
    encoder, widened = _encoder_part(steps)
    smallest = min((_area(steps[place]) for place in encoder), default=None)
    deepest = [place for place in encoder if _area(steps[place]) == smallest]
    inner = set().union(*(encoder[place] for place in deepest))
    ends = [place for place in deepest if place not in inner]
    forks = [place for place in deepest if place in widened]
    if forks and all(forks[0] in _ancestors(encoder, place) for place in forks[1:]):
        ends = forks[:1]  # the others depend on it, such as the gates of an attention U-Net
    if len(ends) == 1:
        _check_whole(sized, steps[ends[0]])
        step = graph.steps[ends[0]]
        return Tap(step, _auto_reason(step, bool(widened)))
    listed = ", ".join(f"{steps[place].name} {steps[place].shape[1:]}" for place in ends) or "none"
    unseen = (
        f" The network was loaded without {what_is_left_out(graph.left_out)}. {WAY_ON}."
        if graph.left_out
        else ""
    )
    raise InputError(
        f"auto can't tell which layer ends the encoder; candidates: {listed}. Name one with "
        f"--layer; 'python -m encoder inspect MODEL' lists all layers.{unseen}"
    )


def _check_whole(graph: Graph, step: Step) -> None:
    """Refuse a tap if code that is left out takes a map as deep as it: more may follow."""
    for each in graph.left_out:
        shapes = [tuple(tensor.shape) for tensor in each.inputs if len(tensor.shape) == 4]
        if each.reason and any(_sides(shape) <= _sides(step.shape) for shape in shapes):
            raise InputError(
                f"auto would take {step.name!r} {step.shape[1:]}, but can't tell whether the "
                f"encoder ends there: the network was loaded without "
                f"{what_is_left_out(graph.left_out)}. If the encoder ends there, say "
                f"--layer {step.name}. {WAY_ON}"
            )


def _encoder_part(steps: list[Step]) -> tuple[dict[int, set[int]], set[int]]:
    """The feature maps that are computed without any widening step.

    Returns:
        A dict from the index of each of these steps to the indices of the feature maps that it is
        computed from; and the indices of the feature maps that widening steps take.
    """
    widened: set[int] = set()
    after_widening: set[int] = set()
    collapsed: set[int] = set()  # computed from globally pooled or flattened values alone
    area: dict[int, int] = {}  # height x width of a tensor, or of the feature map behind it
    views: dict[int, set[int]] = {}  # the feature maps that a tensor is, or that it reshapes
    encoder: dict[int, set[int]] = {}
    largest = 0
    for place, step in enumerate(steps):
        if step.is_model:
            continue
        ids = [id(tensor) for tensor in step.inputs]
        own = id(step.output)
        before = max((area.get(each, 0) for each in ids), default=0)
        is_map = len(step.shape) == 4
        size = _area(step) if is_map else before
        widens = is_map and size > before and not _only_pads(step)
        views[own] = set().union(*(views.get(each, set()) for each in ids))
        sources = set(views[own])
        if step.is_input:
            largest = size
        elif any(each in after_widening for each in ids):
            after_widening.add(own)
        elif len(step.shape) < 3 or _pools_globally(step):
            collapsed.add(own)
            size = 1
        elif all(each in collapsed for each in ids):
            (after_widening if widens else collapsed).add(own)
            widened |= sources if widens else set()
        elif widens and before < largest:
            after_widening.add(own)
            widened |= sources
        elif is_map and len(step.outputs) == 1:
            encoder[place] = views[own]
            views[own] = {place}
        area[own] = size
        largest = max(largest, size)
    return encoder, widened


def _ancestors(encoder: dict[int, set[int]], place: int) -> set[int]:
    """The indices of all feature maps that one is computed from, directly or indirectly."""
    found: set[int] = set()
    waiting = [place]
    while waiting:
        for source in encoder.get(waiting.pop(), set()) - found:
            found.add(source)
            waiting.append(source)
    return found


def _auto_reason(step: Step, widened: bool) -> str:
    shape = "x".join("?" if side is None else str(side) for side in step.shape[1:])
    if widened:
        return f"{step.name} ({shape}) is the deepest layer before the network widens again"
    return f"{step.name} ({shape}) is the last feature map of a network that never widens"


def _named_tap(graph: Graph, part: str) -> Tap:
    matches = [step for step in graph.steps if step.name == part]
    matches = matches or [step for step in graph.steps if _is_short_for(part, step.name)]
    if len(matches) == 1:
        return _single(Tap(matches[0], f"{matches[0].name} was asked for by name"))
    if not matches and re.fullmatch(r"-?[0-9]+", part):
        return _indexed_tap(graph, int(part))
    if _lies_behind(graph, part):
        raise InputError(
            f"layer {part!r} can't be tapped: the network was loaded without "
            f"{what_is_left_out(graph.left_out)}. {WAY_ON}"
        )
    if part in graph.unreachable:
        raise InputError(f"layer {part!r} does not depend on the input {graph.input.name!r} alone")
    names = list(dict.fromkeys(step.name for step in graph.steps))
    if matches:
        raise InputError(
            f"layer {part!r} stands for {len(matches)} places in the network: "
            f"{', '.join(step.name for step in matches)}; name one of them in full"
        )
    close = difflib.get_close_matches(part, names, _NAMES_IN_MESSAGE, cutoff=0.5)
    hint = f"close names: {', '.join(close)}" if close else f"it has {', '.join(names[:8])}, …"
    raise InputError(f"the model has no layer {part!r}; {hint}")


def what_is_left_out(parts: Iterable[LeftOut]) -> str:
    """What a network was loaded without, as a phrase; "" if it is whole."""
    parts = list(parts)
    needing = [f"{each.name!r} ({each.reason})" for each in parts if each.reason]
    behind = len(parts) - len(needing)
    if not needing:
        return ""
    one = len(needing) == 1
    text = (
        f"the layer{'' if one else 's'} {', '.join(needing)}, which need{'s' if one else ''} code"
    )
    if behind:
        text += f", and without the {behind} behind {'it' if one else 'them'}"
    return text


def _lies_behind(graph: Graph, part: str) -> bool:
    return any(
        each.name == part or each.name.endswith(f"/{part}") or each.name.startswith(f"{part}/")
        for each in graph.left_out
    )


def _is_short_for(part: str, name: str) -> bool:
    """Whether a name contains a part as its end: "vgg16/conv1" for "conv1", "conv:1" for "conv"."""
    plain = name if ":" in part else name.partition(":")[0]
    return plain == part or plain.endswith(f"/{part}")


def _indexed_tap(graph: Graph, index: int) -> Tap:
    if not -graph.layer_count <= index < graph.layer_count:
        raise InputError(
            f"layer index {index} is out of range: the model has {graph.layer_count} layers, "
            f"0 to {graph.layer_count - 1} or -{graph.layer_count} to -1"
        )
    wanted = index % graph.layer_count
    matches = [step for step in graph.steps if step.place == wanted]
    if len(matches) != 1:
        uses = ", ".join(step.name for step in matches) or "none that the image input reaches"
        raise InputError(f"layer {index} stands for several uses or none: {uses}; name one")
    return _single(Tap(matches[0], f"{matches[0].name} is layer {index} of {graph.layer_count}"))


def _single(tap: Tap) -> Tap:
    if len(tap.step.outputs) != 1:
        raise InputError(
            f"layer {tap.step.name!r} gives {len(tap.step.outputs)} tensors; name a layer that "
            "takes the one you mean"
        )
    return tap


def _only_pads(step: Step) -> bool:
    return "Padding" in type(step.layer).__name__


def _pools_globally(step: Step) -> bool:
    if type(step.layer).__name__.startswith("Global"):
        return True
    before = [tuple(tensor.shape) for tensor in step.inputs if len(tensor.shape) == 4]
    return step.shape[1:3] == (1, 1) and any(
        min(shape[1] or 0, shape[2] or 0) >= _POOLED_SIDE for shape in before
    )


def _area(step: Step) -> int:
    return _sides(step.shape)


def _sides(shape: tuple[int | None, ...]) -> int:
    """Height x width of a feature map."""
    return (shape[1] or 0) * (shape[2] or 0)
