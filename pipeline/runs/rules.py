"""What to do about one image, from what was listed and what the output holds: the rules."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple

from pipeline.dataset.changes import HAD, HAS, RENEWED
from pipeline.dataset.values import same
from pipeline.inputs.source import Input
from pipeline.inputs.uris import path_of
from pipeline.records import DECODE, Carried, Image, Known, KnownTuple, Todo, Touched
from pipeline.runs.batches import ListedBatch, NamedBatch, as_known


class Decision(NamedTuple):
    """The outcome for one uri.

    Attributes:
        todo: the image to read and embed, if any.
        stale: parts whose row of this uri has to go.
        counts: by the names of the run record, besides "listed by INPUT" for each input that
            listed the image, and "gone from INPUT" for each that would have listed an image which
            is deleted.
        renewed: the row that stays, where a list carries other values over now.
        seen: what is to be said of the change, as in pipeline.dataset.changes.
    """

    todo: Todo | None
    stale: list[str]
    counts: Counter[str]
    renewed: Touched | None = None
    seen: tuple[str, ...] = ()


def _listed_first(carried: Carried | None, before: Carried | None) -> Carried | None:
    return before if carried is None else carried


class Scope(NamedTuple):
    """What a run can speak of.

    Attributes:
        inputs: of this run.
        unreadable: uris of folders below them, of whose content nothing is known.
        retry_failures: try again what could not be decoded, too.
        merged: makes the kept values of a row, from those of the listing and the row before.
    """

    inputs: Sequence[Input]
    unreadable: Sequence[str] = ()
    retry_failures: bool = False
    merged: Callable[[Carried | None, Carried | None], Carried | None] = _listed_first


def decide(
    uri: str,
    listed: Iterable[Image],
    known: Iterable[Known],
    scope: Scope,
    named_by: Iterable[str] = (),
) -> Decision:
    """Apply the incremental rules to one uri.

    Args:
        uri: of the image.
        listed: what the inputs said of it; several where several inputs reach it.
        known: its rows in the output, embeddings and failures.
        scope: of the run.
        named_by: uris of the lists that named it in an earlier state.
    """
    rows = sorted(known, key=_preference)
    images = sorted(listed, key=usefulness)
    if not images:
        return _not_listed(uri, rows, scope, named_by)
    image = images[0]
    counts = Counter(listed=1)
    counts.update({listed_by(each.source) for each in images})
    valid = _valid_row(image, rows, scope.retry_failures)
    if valid is not None:
        counts["unchanged" if valid.committed else "resumed"] += 1
        stale = [row.part for row in rows if row is not valid]
        renewed = _renewal(uri, valid, image.carried, scope)
        return Decision(None, stale, counts, renewed, _seen_of(valid, rows, renewed))
    old = next((row for row in rows if not row.stage), None)
    values = scope.merged(image.carried, old.carried if old else None)
    seen = _had(rows)
    if old and _renews(image.carried, old, values):
        seen = (*seen, RENEWED)
    image = image._replace(carried=values)
    known_before = any(row.committed and row.version != image.version for row in rows)
    counted = "changed" if known_before else "new"
    counts[counted] += 1
    todo = Todo(image, counted, old.part, old.sha256) if old else Todo(image, counted)
    return Decision(todo, [row.part for row in rows], counts, seen=seen)


def decide_partition(
    listed: Iterable[ListedBatch],
    known: Iterable[list[KnownTuple]],
    named: Iterable[NamedBatch],
    scope: Scope,
) -> Iterator[tuple[str, Decision]]:
    """Apply the rules to all uris of one bucket.

    Gives (uri, Decision) for each of which there is something to say, and in the end one for ""
    with the counts of all that have not changed: they are many, and looked at only here.
    """
    rows: dict[str, list[KnownTuple]] = {}
    for tuples in known:
        for row in tuples:
            rows.setdefault(row[0], []).append(row)
    lists: dict[str, list[str]] = {}
    for batch in named:
        for uri in batch.uris:
            lists.setdefault(uri, []).append(batch.list_uri)
    unchanged: Counter[str] = Counter()
    for uri, images in _by_uri(listed).items():
        found = rows.pop(uri, [])
        if len(found) == len(images) == 1 and _is_settled(images[0], found[0]):
            unchanged[images[0].source] += 1
            continue
        yield uri, decide(uri, images, map(as_known, found), scope, lists.get(uri, ()))
    for uri, found in rows.items():
        yield uri, decide(uri, (), map(as_known, found), scope, lists.get(uri, ()))
    total = unchanged.total()
    counts = Counter({listed_by(source): count for source, count in unchanged.items()})
    yield "", Decision(None, [], counts + Counter(listed=total, unchanged=total))


def _by_uri(listed: Iterable[ListedBatch]) -> dict[str, list[Image]]:
    images: dict[str, list[Image]] = {}
    for batch in listed:
        for plain in batch.plain:
            images.setdefault(plain[0], []).append(Image(*plain, source=batch.source))
        for image in batch.others:
            images.setdefault(image.uri, []).append(image)
    return images


def _is_settled(image: Image, row: KnownTuple) -> bool:
    """The usual case: an embedding of this version, committed, and nothing else to be said."""
    _, _, version, _, stage, committed, _ = row
    same = version == image.version and committed and not stage
    return same and not image.error and image.carried is None


def gone_from(text: str) -> str:
    """The count of deletions that rest on one input's listing."""
    return f"gone from {text}"


def listed_by(text: str) -> str:
    """The count of images that one input listed."""
    return f"listed by {text}"


def _not_listed(uri: str, rows: list[Known], scope: Scope, named_by: Iterable[str]) -> Decision:
    lists = list(named_by)
    speaking = [
        each
        for each in scope.inputs
        if each.covers(uri) or any(each.takes_as_list(path_of(list_uri)) for list_uri in lists)
    ]
    path = path_of(uri)
    if any(path.startswith(f"{path_of(folder)}/") for folder in scope.unreadable):
        speaking = []
    if not speaking:  # this run knows nothing of it: one row stays, as if its run had ended well
        return Decision(None, [row.part for row in rows[1:]], Counter(), seen=_adopted(rows))
    counts: Counter[str] = Counter()
    if any(row.committed for row in rows):
        counts["deleted"] += 1
        counts.update(gone_from(each.text) for each in speaking)
    return Decision(None, [row.part for row in rows], counts, seen=_had(rows))


def _had(rows: list[Known]) -> tuple[str, ...]:
    return (HAD,) if any(row.committed and not row.stage for row in rows) else ()


def _adopted(rows: list[Known]) -> tuple[str, ...]:
    """The row of a run that died becomes one of the output."""
    return (HAS,) if rows and not (rows[0].committed or rows[0].stage) else ()


def _seen_of(valid: Known, rows: list[Known], renewed: Touched | None) -> tuple[str, ...]:
    if renewed is not None:
        return (HAD, HAS) if valid.committed else (*_had(rows), HAS)
    if valid.stage:
        return _had(rows)
    return () if valid.committed else (*_had(rows), HAS)


def _valid_row(image: Image, rows: list[Known], retry_failures: bool) -> Known | None:
    if image.error and image.stage != DECODE:
        return None
    for row in rows:
        lasting = row.stage == "" or (row.stage == DECODE and not retry_failures)
        if lasting and row.version == image.version and bool(image.error) <= bool(row.stage):
            return row
    return None


def _renewal(uri: str, row: Known, carried: Carried | None, scope: Scope) -> Touched | None:
    values = scope.merged(carried, row.carried)
    if row.stage or not _renews(carried, row, values):
        return None
    return Touched(row.part, uri, row.version, "", values)


def _renews(carried: Carried | None, row: Known, values: Carried | None) -> bool:
    """Whether a list carries values over with which the row becomes another."""
    if carried is None:
        return False
    return row.carried is None or values is None or not same(row.carried, values)


def _preference(row: Known) -> tuple[bool, bool, str]:
    """Embeddings before failures, committed rows before others; then in a fixed order."""
    return (row.stage != "", not row.committed, row.part)


def usefulness(image: Image) -> tuple[bool, bool, str, str]:
    """Whole ones first, then those that carry values; then in a fixed order."""
    return (bool(image.error), image.carried is None, image.version, image.source)
