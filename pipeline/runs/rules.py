"""The incremental rules: what to do with an image, given its listing and its known rows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final, NamedTuple

from pipeline.dataset.changes import HAD, HAS, RENEWED, Seen
from pipeline.dataset.values import same
from pipeline.inputs.file_kinds import archive_kind
from pipeline.inputs.uris import path_of
from pipeline.records import (
    DECODE,
    LIST,
    Carried,
    Counted,
    Counts,
    Image,
    Known,
    KnownTuple,
    OldRow,
    Share,
    Staged,
    Todo,
    Touched,
)
from pipeline.runs.batches import Batch, KnownBatch, ListedBatch, NamedBatch, as_known
from pipeline.runs.scope import Scope, in_order

# In place of a list that named an image: an archive that this run has read does not hold it.
GONE: Final = ""
_ALL = Share()


class Decision(NamedTuple):
    """The outcome for one uri.

    Attributes:
        todo: the image to read and embed, if any.
        stale: committed parts whose row of this uri has to be removed.
        counts: the part of this uri in the counts of the run.
        renewed: the row that stays while its carried values change, if any.
        seen: facts for the log of changes; see pipeline.dataset.changes.
        taken: the waiting part whose row of this uri becomes live, if any.
        kept: waiting parts whose rows of this uri keep waiting; all other such rows are dropped.
        stays: whether an embedding stays of whose image the inputs do not speak.
        differs: whether the listings of the image carry different values.
        staged: (part, what the run takes of it) for waiting parts; in the last decision only.
    """

    todo: Todo | None
    stale: list[str]
    counts: Counts
    renewed: Touched | None = None
    seen: tuple[Seen, ...] = ()
    taken: str | None = None
    kept: tuple[str, ...] = ()
    stays: bool = False
    differs: bool = False
    staged: Sequence[tuple[str, Staged]] = ()


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
        named_by: uris of the lists that named the image in an earlier state; see GONE.
    """
    rows = sorted(known, key=_preference)
    images = list(listed)
    if len(images) > 1:
        images = in_order(images, scope.order)
    if not images:
        return _not_listed(uri, rows, scope, named_by)
    image = images[0]
    committed = [row for row in rows if row.committed]
    embedding = next((row for row in rows if row.stage is None), None)
    counts = Counts(listed_by=Counter({each.source for each in images}))
    counts.known = _is_image(uri, committed)
    counts.totals["listed"] = 1
    counts.totals["repeated"] = len(images) - 1
    differs = any(
        each.carried is not None and not same(each.carried, image.carried or ())
        for each in images[1:]
    )
    if embedding is None or embedding.committed:
        values = scope.columns.merged(image.carried, embedding.carried if embedding else None)
    else:  # values that a run without a commit has read from its lists are not taken over
        values = scope.columns.merged(image.carried, None) or scope.columns.nothing
    valid = _valid_row(image, rows, scope.retry_failures)
    stale = [row.part for row in committed if row is not valid]
    if valid is not None:
        counts.totals["unchanged" if valid.committed else "resumed"] += 1
        renewed = _renewal(uri, valid, values)
        counts.totals["renewed"] += renewed is not None and valid.committed
        if valid is embedding and valid.committed and scope.check.takes(uri):
            # Reading it shows what becomes of it.
            image = image._replace(carried=values)
            same_row = OldRow(valid.part, valid.sha256, renews=renewed is not None)
            todo = Todo(image, old=same_row, check=True)
            return Decision(todo, stale, counts, differs=differs)
        return Decision(
            None,
            stale,
            counts,
            renewed,
            _seen_of(valid, rows, renewed),
            taken=None if valid.committed else valid.part,
            differs=differs,
        )
    seen = _had(rows)
    if embedding and _renewal(uri, embedding, values):
        seen = (*seen, RENEWED)
    image = image._replace(carried=values)
    known_before = any(row.version != image.version for row in committed)
    counted: Counted = "changed" if known_before else "new"
    counts.totals[counted] += 1
    counts.failing = bool(image.error)
    old = OldRow(embedding.part, embedding.sha256) if embedding else None
    return Decision(Todo(image, counted, old), stale, counts, seen=seen, differs=differs)


def decide_share(
    batches: Iterable[Batch], scope: Scope, share: Share = _ALL
) -> Iterator[tuple[str, Decision]]:
    """Apply the rules to all uris of one share.

    Yields (uri, Decision) for each uri that needs one. Most uris are unchanged. They take a fast
    path, and the last decision, for the uri "", has the sum of their counts.

    Args:
        batches: ListedBatch, KnownBatch and NamedBatch of these uris, in any order.
        scope: what the run covers.
        share: which uris these are.
    """
    listed: dict[str, list[Image]] = {}
    rows: dict[str, list[KnownTuple]] = {}
    lists: dict[str, list[str]] = {}
    for batch in batches:
        if isinstance(batch, ListedBatch):
            for uri, version, size in batch.plain:
                listed.setdefault(uri, []).append(Image(uri, version, size, source=batch.source))
            for image in batch.others:
                listed.setdefault(image.uri, []).append(image)
        elif isinstance(batch, KnownBatch):
            for row in batch.rows:
                rows.setdefault(row[0], []).append(row)
        elif isinstance(batch, NamedBatch):
            for uri in batch.uris:
                lists.setdefault(uri, []).append(batch.list_uri)
    unchanged: Counter[str] = Counter()
    waiting = _Waiting(rows)
    for uri, images in listed.items():
        found = rows.pop(uri, [])
        if len(found) == len(images) == 1 and _is_settled(images[0], found[0], scope):
            unchanged[images[0].source] += 1
            continue
        decision = decide(uri, images, map(as_known, found), scope, lists.get(uri, ()))
        waiting.add(uri, decision)
        yield uri, decision
    for uri, found in rows.items():
        decision = decide(uri, (), map(as_known, found), scope, lists.get(uri, ()))
        waiting.add(uri, decision)
        yield uri, decision
    counts = Counts(listed_by=unchanged, known=unchanged.total())
    counts.totals["listed"] = counts.totals["unchanged"] = unchanged.total()
    yield "", Decision(None, [], counts, staged=waiting.staged(share))


class _Waiting:
    """What becomes of the waiting rows of one share.

    Args:
        rows: all known rows by uri.
    """

    def __init__(self, rows: Mapping[str, Sequence[KnownTuple]]) -> None:
        parts = (row[1] for found in rows.values() for row in found if not row[5])
        self._rows = Counter(parts)
        self._taken: dict[str, list[str]] = {part: [] for part in self._rows}
        self._kept: Counter[str] = Counter()

    def add(self, uri: str, decision: Decision) -> None:
        """Add the outcome for one uri."""
        if decision.taken is not None:
            self._taken[decision.taken].append(uri)
        self._kept.update(decision.kept)

    def staged(self, share: Share) -> list[tuple[str, Staged]]:
        """(part, what the run takes of it) for each part with waiting rows."""
        return [
            (
                part,
                Staged(share, None if len(uris) == rows else frozenset(uris), self._kept[part]),
            )
            for part, rows in self._rows.items()
            for uris in [self._taken[part]]
        ]


def _is_settled(image: Image, row: KnownTuple, scope: Scope) -> bool:
    """Fast path: one committed embedding of the listed version and no carried values."""
    _, _, version, _, stage, committed, _ = row
    same_version = version == image.version and committed and stage is None
    plain = same_version and not image.error and image.carried is None
    return plain and not scope.check.takes(image.uri)


def _not_listed(uri: str, rows: list[Known], scope: Scope, named_by: Iterable[str]) -> Decision:
    named = list(named_by)
    lists = [each for each in named if each != GONE]
    own = {
        each
        for each in lists
        if any(source.takes_as_list(path_of(each)) for source in scope.inputs)
    }
    by_place = [each for each in scope.inputs if each.covers(uri)]
    covering = by_place + [
        each
        for each in scope.inputs
        if each not in by_place and any(each.takes_as_list(path_of(list_uri)) for list_uri in own)
    ]
    path = path_of(uri)
    unknown = any(path.startswith(f"{path_of(folder)}/") for folder in scope.unreadable)
    is_there = GONE not in named and all(each.excludes(uri) for each in by_place)
    committed = [row for row in rows if row.committed]
    is_image = _is_image(uri, committed)
    by_others = is_image and any(
        each.covers(uri) and not each.excludes(uri) for each in scope.others
    )
    owned = is_there and (by_others or own != set(lists))
    if not covering or unknown or owned:
        done = {row.version for row in committed}
        return Decision(
            None,
            [row.part for row in committed[1:]],
            Counts(),
            kept=tuple(row.part for row in rows if not row.committed and row.version not in done),
            stays=not covering and any(row.stage is None for row in committed),
        )
    counts = Counts(known=is_image, lost=is_image)
    if committed:
        counts.totals["deleted"] += 1
        counts.gone_from.update(each.text for each in covering)
    return Decision(None, [row.part for row in committed], counts, seen=_had(rows))


def _is_image(uri: str, committed: Iterable[Known]) -> bool:
    """Whether committed rows are those of an image.

    Failures of rows that name no image, of folders and of archives themselves are not.
    """
    return not archive_kind(uri) and any(row.stage != LIST for row in committed)


def _had(rows: list[Known]) -> tuple[Seen, ...]:
    return (HAD,) if any(row.committed and row.stage is None for row in rows) else ()


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


def _renewal(uri: str, row: Known, values: Carried | None) -> Touched | None:
    """The row with other values, if it is an embedding and they differ from its own."""
    if row.stage or not values or (row.carried is not None and same(row.carried, values)):
        return None
    return Touched(row.part, uri, row.version, None, values)


def _preference(row: Known) -> tuple[bool, bool, str]:
    """Sorts embeddings before failures, committed rows before others; then in a fixed order."""
    return (row.stage is not None, not row.committed, row.part)
