"""Find the layer to cut at: by name, by index, from the end, or automatically."""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence
from typing import NamedTuple

from encoder.errors import InputError
from encoder.network.auto import encoder_end
from encoder.network.graph import Graph, Step, what_is_left_out
from encoder.network.layout import channels_first
from encoder.stand_ins import WAY_ON

_NAMES_IN_MESSAGE = 8
_FEW = 10  # values of an embedding

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
    """The layer that "auto" takes; see encoder.network.auto.

    Raises:
        InputError: several layers fit, or none does.
    """
    if channels_first(graph):
        raise InputError(
            "auto can't tell which layer ends the encoder: the network has layers with "
            "data_format 'channels_first', and auto compares heights and widths where other "
            "layers have them. Name a layer with --layer"
        )
    step, reason = encoder_end(graph)
    _check_whole(graph.sized, [each is step for each in graph.steps].index(True))
    return Tap(step, reason)


def _check_whole(graph: Graph, place: int) -> None:
    """Refuse a tap if code that is left out takes what is as deep as it: more may follow."""
    step = graph.steps[place]
    for each in graph.left_out:
        shapes = [tuple(tensor.shape) for tensor in each.inputs if len(tensor.shape) > 2]
        if each.reason and any(
            len(step.shape) != 4 or len(shape) != 4 or _sides(shape) <= _sides(step.shape)
            for shape in shapes
        ):
            raise InputError(
                f"auto would take {step.name!r} {step.shape[1:]}, but can't tell whether the "
                f"encoder ends there: the network was loaded without "
                f"{what_is_left_out(graph.left_out)}. If the encoder ends there, say "
                f"--layer {step.name}. {WAY_ON}"
            )


def _sides(shape: tuple[int | None, ...]) -> int:
    """Height x width of a feature map."""
    return (shape[1] or 0) * (shape[2] or 0)


def short_vectors(taps: Sequence[Tap], length: int) -> str:
    """Say that embeddings are too short to be of much use; "" if they are not.

    Args:
        taps: the taps that they are pooled from.
        length: how many values an embedding has.
    """
    if length > _FEW:
        return ""
    names = ", ".join(tap.step.name for tap in taps)
    values = "1 value" if length == 1 else f"{length} values"
    sides = [side or 2 for tap in taps for side in tap.step.shape[1:-1]]
    text = (
        f"embeddings of {values} tell few images apart, and {names} gives no more. Name a layer "
        "with more channels with --layer ('python -m encoder inspect MODEL' lists them)"
    )
    if max(sides, default=1) > 1:
        text += ", or keep all positions with --pooling flatten"
    return text


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
