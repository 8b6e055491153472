"""Find where the encoder of a network ends: what ``--layer auto`` takes."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from encoder.errors import InputError
from encoder.network.answers import answer_steps, kind_of, mixes
from encoder.network.graph import Graph, Step, what_is_left_out
from encoder.stand_ins import WAY_ON

_CANDIDATES = 8  # in a message
_POOLED_SIDE = 4  # pixels; a step from at least this side to 1x1 is a global pooling
_PICKS = frozenset({"getitem", "take", "slice"})  # one token out of a sequence


class _Part(NamedTuple):
    """The steps of a network that have no widening step before them.

    Attributes:
        maps: from the index of each feature map to the indices of those it is computed from.
        tokens: indices of what else has positions: sequences (batch, n, channels), their heads.
        widened: indices of the feature maps that widening steps take.
        narrows: whether a step makes a feature map smaller, by more than its border.
    """

    maps: dict[int, set[int]]
    tokens: list[int]
    widened: set[int]
    narrows: bool


def encoder_end(graph: Graph) -> tuple[Step, str]:
    """The deepest layer before the network widens again, collapses or computes its answer.

    Returns:
        The step, and the reason for its choice in one sentence.

    Raises:
        InputError: several layers fit, or none does.
    """
    steps = graph.sized.steps
    part = _encoder_part(steps)
    # An answer that needs other inputs, or code that was left out, is not among the steps.
    answers = answer_steps(steps) if graph.is_whole else set()
    hidden = [place for place in _with_weights(steps) if place not in answers]
    if not any(place in part.maps or place in part.tokens for place in hidden):
        answers = set()  # the answer is all that the network computes
    elif not part.narrows and graph.is_whole and _restores(steps):
        places = [place for place in hidden if steps[place].shape[-1] != steps[0].shape[-1]]
        raise _undecided(graph, places, "the network keeps its input's size and gives an image;")
    ends = _token_ends(steps, part, answers)
    if ends:
        return _last_token(graph, steps, ends)
    places = _map_ends(steps, part, answers)
    if len(places) == 1:
        step = graph.steps[places[0]]
        before = _before_answer(steps, part, answers, places)
        return step, _reason(step, bool(part.widened), before, bool(graph.left_out))
    raise _undecided(graph, places or hidden)


def _map_ends(steps: list[Step], part: _Part, answers: set[int]) -> list[int]:
    """The last ones of the smallest feature maps."""
    places = [place for place in part.maps if place not in answers]
    smallest = min((_area(steps[place]) for place in places), default=None)
    deepest = [place for place in places if _area(steps[place]) == smallest]
    inner = _ancestors(part.maps, *deepest)  # a padding may be between two of them
    ends = [place for place in deepest if place not in inner]
    forks = [place for place in deepest if place in part.widened]
    if forks and all(forks[0] in _ancestors(part.maps, place) for place in forks[1:]):
        return forks[:1]  # the others depend on it, such as the gates of an attention U-Net
    return ends


def _token_ends(steps: list[Step], part: _Part, answers: set[int]) -> list[int]:
    """The last sequences of tokens, if more layers work on tokens than on feature maps.

    So a vision transformer does not end at its patches. There is none if the tokens become a
    feature map again.
    """
    maps, tokens = (
        [place for place in places if place not in answers] for places in (part.maps, part.tokens)
    )
    if sum(mixes(steps[place]) for place in tokens) <= sum(mixes(steps[place]) for place in maps):
        return []
    sequences = {place for place in tokens if len(steps[place].shape) == 3}
    several = {place for place in sequences if steps[place].shape[1] != 1}
    ends: list[int] = []
    needed: set[int] = set()  # ids of the tensors that later feature maps or sequences need
    for place in reversed(range(len(steps))):
        step = steps[place]
        if step.is_model:
            continue
        if place in several and id(step.output) not in needed:
            ends.insert(0, place)
        if place in several or place in part.maps or id(step.output) in needed:
            needed.update(id(tensor) for tensor in step.inputs)
    return ends


def _last_token(graph: Graph, steps: list[Step], ends: list[int]) -> tuple[Step, str]:
    """The last sequence, or the one token of it that the network goes on with."""
    if len(ends) > 1:
        raise _undecided(graph, ends)
    own = id(steps[ends[0]].output)
    after = [
        place
        for place, step in enumerate(steps)
        if not step.is_model and any(id(tensor) == own for tensor in step.inputs)
    ]
    step = graph.steps[ends[0]]
    if after and all(kind_of(steps[place]) in _PICKS for place in after):
        if len(after) > 1:
            raise _undecided(graph, [*ends, *after])
        step = graph.steps[after[0]]
        return step, f"{step.name} ({_shape(step)}) is the token that the answer is computed from"
    return step, (
        f"{step.name} ({_shape(step)}) is the last sequence of tokens; most layers of the network "
        "work on tokens, not on feature maps"
    )


def _encoder_part(steps: list[Step]) -> _Part:
    """The feature maps and tokens that are computed without any widening step."""
    after_widening: set[int] = set()
    collapsed: set[int] = set()  # computed from globally pooled or flattened values alone
    area: dict[int, int] = {}  # height x width of a tensor, or of the feature map behind it
    views: dict[int, set[int]] = {}  # the feature maps that a tensor is, or that it reshapes
    of_tokens: set[int] = set()  # sequences and their heads
    part = _Part({}, [], set(), False)
    largest = 0
    for place, step in enumerate(steps):
        if step.is_model:
            continue
        ids = [id(tensor) for tensor in step.inputs]
        own = {id(tensor) for tensor in step.outputs}
        before = max((area.get(each, 0) for each in ids), default=0)
        is_map = len(step.shape) == 4 and not (
            of_tokens.issuperset(ids) and not step.is_input and _is_head(step, before)
        )
        size = _area(step) if is_map else before
        widens = is_map and size > before and not _only_pads(step)
        sources = set().union(*(views.get(each, set()) for each in ids))
        shown = sources
        if step.is_input:
            largest = size
        elif any(each in after_widening for each in ids):
            after_widening |= own
        elif len(step.shape) < 3 or _pools_globally(step):
            collapsed |= own
            size = 1
        elif all(each in collapsed for each in ids):
            (after_widening if widens else collapsed).update(own)
            part.widened.update(sources if widens else ())
        elif widens and before < largest:
            after_widening |= own
            part.widened.update(sources)
        elif is_map and len(step.outputs) == 1:
            part = part._replace(narrows=part.narrows or size * 2 <= before)
            part.maps[place] = sources
            shown = {place}
        elif len(step.shape) == 3 or (not is_map and not of_tokens.isdisjoint(ids)):
            of_tokens |= own
            part.tokens.append(place)
        area.update(dict.fromkeys(own, size))
        views.update(dict.fromkeys(own, shown))
        largest = max(largest, size)
    return part


def _is_head(step: Step, before: int) -> bool:
    """Whether a tensor that is computed from tokens is a part of an attention, and no image.

    Attention splits (n, channels) into (n, heads, channels), and has (heads, n, n) in between.
    """
    sources = [tuple(tensor.shape) for tensor in step.inputs]
    if any(len(shape) > 3 for shape in sources):
        return _area(step) != before
    return any(shape[1] == step.shape[1] for shape in sources)


def _restores(steps: list[Step]) -> bool:
    """Whether all that the network gives are images as large as its input."""
    taken = {id(tensor) for step in steps if not step.is_model for tensor in step.inputs}
    last = [step for step in steps if not step.is_model and id(step.output) not in taken]
    return all(step.shape == steps[0].shape and not step.is_input for step in last)


def _before_answer(
    steps: list[Step], part: _Part, answers: set[int], ends: list[int]
) -> Step | None:
    """The layer of the answer that would be the end of the encoder, did it not compute scores."""
    others = [place for place in _map_ends(steps, part, set()) if place not in ends]
    return steps[others[0]] if others and others[0] in answers else None


def _ancestors(maps: dict[int, set[int]], *places: int) -> set[int]:
    """The indices of all feature maps that some are computed from, directly or indirectly."""
    found: set[int] = set()
    waiting = list(places)
    while waiting:
        for source in maps.get(waiting.pop(), set()) - found:
            found.add(source)
            waiting.append(source)
    return found


def _with_weights(steps: list[Step]) -> list[int]:
    return [place for place, step in enumerate(steps) if not step.is_model and mixes(step)]


def _undecided(graph: Graph, places: Iterable[int], found: str = "") -> InputError:
    steps = [graph.steps[place] for place in places][-_CANDIDATES:]
    listed = ", ".join(f"{step.name} {step.shape[1:]}" for step in steps) or "none"
    others = "" if steps or not graph.unreachable else " that needs no other input"
    unseen = (
        f". The network was loaded without {what_is_left_out(graph.left_out)}. {WAY_ON}"
        if graph.left_out
        else ""
    )
    return InputError(
        f"{found + ' ' if found else ''}auto can't tell which layer ends the encoder; candidates: "
        f"{listed}{others}. Name one with --layer; 'python -m encoder inspect MODEL' lists all "
        f"layers{unseen}"
    )


def _reason(step: Step, widened: bool, answer: Step | None, is_part: bool) -> str:
    shape = _shape(step)
    if answer is not None:
        return f"{step.name} ({shape}) is the last feature map before {answer.name}, the answer"
    if widened:
        return f"{step.name} ({shape}) is the deepest layer before the network widens again"
    if is_part:
        return f"{step.name} ({shape}) is the last feature map of the part that was loaded"
    return f"{step.name} ({shape}) is the last feature map of a network that never widens"


def _shape(step: Step) -> str:
    return "x".join("?" if side is None else str(side) for side in step.shape[1:])


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
    height, width = step.shape[1], step.shape[2]
    return (height or 0) * (width or 0)
