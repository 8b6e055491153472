"""The incremental rules: what to do with an image, given its listing and its known rows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from pipeline.dataset.changes import HAD, HAS, RENEWED, Seen
from pipeline.dataset.values import same
from pipeline.inputs.source import Input
from pipeline.inputs.uris import path_of
from pipeline.records import (
    DECODE,
    Carried,
    Counted,
    Counts,
    Image,
    Known,
    KnownTuple,
    OldRow,
    Todo,
    Touched,
)
from pipeline.runs.batches import KnownBatch, ListedBatch, NamedBatch, as_known


class Decision(NamedTuple):
    """The outcome for one uri.

    Attributes:
        todo: the image to read and embed, if any.
        stale: parts whose row of this uri has to be removed.
        counts: the part of this uri in the counts of the run.
        renewed: the row that stays while its carried values change, if any.
        seen: facts for the log of changes; see pipeline.dataset.changes.
    """

    todo: Todo | None
    stale: list[str]
    counts: Counts
    renewed: Touched | None = None
    seen: tuple[Seen, ...] = ()


class CarriedColumns(NamedTuple):
    """The names of carried columns.

    Attributes:
        listed: the columns of this run's inputs, in the order of a listing's values.
        dataset: the columns of the dataset, in the order of a row's values.
    """

    listed: tuple[str, ...] = ()
    dataset: tuple[str, ...] = ()

    def merged(self, listed: Carried | None, before: Carried | None) -> Carried | None:
        """The values of all of the dataset's columns: those of the listing replace older ones.

        Args:
            listed: values of the listing; None if it carries none.
            before: values of the row that the output has; None if it has none.
        """
        if listed is None:
            return before
        values = dict(zip(self.dataset, before or (None,) * len(self.dataset), strict=True))
        values.update(zip(self.listed, listed, strict=True))
        return tuple(values.values())


class Scope(NamedTuple):
    """The images that a run covers, and settings of the rules.

    Attributes:
        inputs: this run's inputs.
        unreadable: uris of folders that could not be read; images below them may exist.
        retry_failures: try again images that could not be decoded.
        columns: carried columns of the listing and of the dataset.
    """

    inputs: Sequence[Input]
    unreadable: Sequence[str] = ()
    retry_failures: bool = False
    columns: CarriedColumns = CarriedColumns()


def decide(
    uri: str,
    listed: Iterable[Image],
    known: Iterable[Known],
    scope: Scope,
    named_by: Iterable[str] = (),
) -> Decision:
    """Apply the incremental rules to one uri.

    Args:
        uri: the image's uri.
        listed: the image as the inputs list it; several if several inputs list it.
        known: its rows in the output, embeddings and failures.
        scope: what the run covers.
        named_by: uris of the lists that named the image in an earlier state.
    """
    rows = sorted(known, key=_preference)
    images = sorted(listed, key=usefulness)
    if not images:
        return _not_listed(uri, rows, scope, named_by)
    image = images[0]
    counts = Counts(listed_by=Counter({each.source for each in images}))
    counts.totals["listed"] = 1
    valid = _valid_row(image, rows, scope.retry_failures)
    if valid is not None:
        counts.totals["unchanged" if valid.committed else "resumed"] += 1
        stale = [row.part for row in rows if row is not valid]
        renewed = _renewal(uri, valid, image.carried, scope)
        return Decision(None, stale, counts, renewed, _seen_of(valid, rows, renewed))
    embedding = next((row for row in rows if row.stage is None), None)
    values = scope.columns.merged(image.carried, embedding.carried if embedding else None)
    seen = _had(rows)
    if embedding and _renews(image.carried, embedding, values):
        seen = (*seen, RENEWED)
    image = image._replace(carried=values)
    known_before = any(row.committed and row.version != image.version for row in rows)
    counted: Counted = "changed" if known_before else "new"
    counts.totals[counted] += 1
    old = OldRow(embedding.part, embedding.sha256) if embedding else None
    todo = Todo(image, counted, old)
    return Decision(todo, [row.part for row in rows], counts, seen=seen)


def decide_partition(
    listed: Iterable[ListedBatch],
    known: Iterable[KnownBatch],
    named: Iterable[NamedBatch],
    scope: Scope,
) -> Iterator[tuple[str, Decision]]:
    """Apply the rules to all uris of one partition.

    Yields (uri, Decision) for each uri that needs one. Most uris are unchanged. They take a fast
    path, and the last decision, for the uri "", has the sum of their counts.
    """
    rows: dict[str, list[KnownTuple]] = {}
    for known_batch in known:
        for row in known_batch.rows:
            rows.setdefault(row[0], []).append(row)
    lists: dict[str, list[str]] = {}
    for named_batch in named:
        for uri in named_batch.uris:
            lists.setdefault(uri, []).append(named_batch.list_uri)
    unchanged: Counter[str] = Counter()
    for uri, images in _by_uri(listed).items():
        found = rows.pop(uri, [])
        if len(found) == len(images) == 1 and _is_settled(images[0], found[0]):
            unchanged[images[0].source] += 1
            continue
        yield uri, decide(uri, images, map(as_known, found), scope, lists.get(uri, ()))
    for uri, found in rows.items():
        yield uri, decide(uri, (), map(as_known, found), scope, lists.get(uri, ()))
    counts = Counts(listed_by=unchanged)
    counts.totals["listed"] = counts.totals["unchanged"] = unchanged.total()
    yield "", Decision(None, [], counts)


def _by_uri(listed: Iterable[ListedBatch]) -> dict[str, list[Image]]:
    images: dict[str, list[Image]] = {}
    for batch in listed:
        for uri, version, size in batch.plain:
            images.setdefault(uri, []).append(Image(uri, version, size, source=batch.source))
        for image in batch.others:
            images.setdefault(image.uri, []).append(image)
    return images


def _is_settled(image: Image, row: KnownTuple) -> bool:
    """Fast path: one committed embedding of the listed version and no carried values."""
    _, _, version, _, stage, committed, _ = row
    same_version = version == image.version and committed and stage is None
    return same_version and not image.error and image.carried is None


def _not_listed(uri: str, rows: list[Known], scope: Scope, named_by: Iterable[str]) -> Decision:
    lists = list(named_by)
    covering = [
        each
        for each in scope.inputs
        if each.covers(uri) or any(each.takes_as_list(path_of(list_uri)) for list_uri in lists)
    ]
    path = path_of(uri)
    if any(path.startswith(f"{path_of(folder)}/") for folder in scope.unreadable):
        covering = []
    if not covering:  # no input would have listed the image: one row stays
        return Decision(None, [row.part for row in rows[1:]], Counts(), seen=_adopted(rows))
    counts = Counts()
    if any(row.committed for row in rows):
        counts.totals["deleted"] += 1
        counts.gone_from.update(each.text for each in covering)
    return Decision(None, [row.part for row in rows], counts, seen=_had(rows))


def _had(rows: list[Known]) -> tuple[Seen, ...]:
    return (HAD,) if any(row.committed and row.stage is None for row in rows) else ()


def _adopted(rows: list[Known]) -> tuple[Seen, ...]:
    """The decision that makes the row of a dead run live."""
    return (HAS,) if rows and not (rows[0].committed or rows[0].stage) else ()


def _seen_of(valid: Known, rows: list[Known], renewed: Touched | None) -> tuple[Seen, ...]:
    if renewed is not None:
        return (HAD, HAS) if valid.committed else (*_had(rows), HAS)
    if valid.stage:
        return _had(rows)
    return () if valid.committed else (*_had(rows), HAS)


def _valid_row(image: Image, rows: list[Known], retry_failures: bool) -> Known | None:
    """The row that stands for the image as it is listed now, if there is one."""
    if image.error and image.stage != DECODE:
        return None
    for row in rows:
        lasting = row.stage is None or (row.stage == DECODE and not retry_failures)
        if lasting and row.version == image.version and bool(image.error) <= bool(row.stage):
            return row
    return None


def _renewal(uri: str, row: Known, carried: Carried | None, scope: Scope) -> Touched | None:
    values = scope.columns.merged(carried, row.carried)
    if row.stage or not _renews(carried, row, values):
        return None
    return Touched(row.part, uri, row.version, None, values)


def _renews(carried: Carried | None, row: Known, values: Carried | None) -> bool:
    """Whether the listing carries values that change the row."""
    if carried is None:
        return False
    return row.carried is None or values is None or not same(row.carried, values)


def _preference(row: Known) -> tuple[bool, bool, str]:
    """Sorts embeddings before failures, committed rows before others; then in a fixed order."""
    return (row.stage is not None, not row.committed, row.part)


def usefulness(image: Image) -> tuple[bool, bool, str, str]:
    """Sorts readable images first, then those with carried values; then in a fixed order."""
    return (bool(image.error), image.carried is None, image.version, image.source)
