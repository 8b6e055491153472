"""What to do about one image, from what was listed and what the output holds: the rules."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from pipeline.inputs import Input
from pipeline.names import path_of
from pipeline.records import DECODE, Image, Kept, Known, Todo, Touched
from pipeline.values import same


class Decision(NamedTuple):
    """The outcome for one uri.

    Attributes:
        todo: the image to read and embed, if any.
        stale: parts whose row of this uri has to go.
        counts: by the names of the run record, besides "listed by INPUT" for each input that
            listed the image, and "gone from INPUT" for each that would have listed an image which
            is deleted.
        renewed: the row that stays, where a list carries other values over now.
    """

    todo: Todo | None
    stale: list[str]
    counts: Counter[str]
    renewed: Touched | None = None


class Scope(NamedTuple):
    """What a run can speak of.

    Attributes:
        inputs: of this run.
        unreadable: folders below them, of whose content nothing is known.
        retry_failures: try again what could not be decoded, too.
    """

    inputs: Sequence[Input]
    unreadable: Sequence[str] = ()
    retry_failures: bool = False


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
        named_by: paths of the lists that named it in an earlier state.
    """
    rows = sorted(known, key=_preference)
    images = sorted(listed, key=_usefulness)
    if not images:
        return _not_listed(uri, rows, scope, named_by)
    image = images[0]
    counts = Counter(listed=1)
    counts.update({listed_by(each.source) for each in images})
    kept = _kept_row(image, rows, scope.retry_failures)
    if kept is not None:
        counts["unchanged" if kept.committed else "resumed"] += 1
        stale = [row.part for row in rows if row is not kept]
        return Decision(None, stale, counts, _renewal(uri, kept, image.kept))
    old = next((row for row in rows if not row.stage), None)
    known_before = any(row.committed and row.version != image.version for row in rows)
    counted = "changed" if known_before else "new"
    counts[counted] += 1
    todo = Todo(image, counted, old.part, old.sha256) if old else Todo(image, counted)
    return Decision(todo, [row.part for row in rows], counts)


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
        if each.covers(uri) or any(each.takes_as_list(path) for path in lists)
    ]
    path = path_of(uri)
    if any(path.startswith(f"{folder}/") for folder in scope.unreadable):
        speaking = []
    if not speaking:  # this run knows nothing of it: one row stays, as if its run had ended well
        return Decision(None, [row.part for row in rows[1:]], Counter())
    counts: Counter[str] = Counter()
    if any(row.committed for row in rows):
        counts["deleted"] += 1
        counts.update(gone_from(each.text) for each in speaking)
    return Decision(None, [row.part for row in rows], counts)


def _kept_row(image: Image, rows: list[Known], retry_failures: bool) -> Known | None:
    if image.error and image.stage != DECODE:
        return None
    for row in rows:
        lasting = row.stage == "" or (row.stage == DECODE and not retry_failures)
        if lasting and row.version == image.version and bool(image.error) <= bool(row.stage):
            return row
    return None


def _renewal(uri: str, row: Known, kept: Kept | None) -> Touched | None:
    if row.stage or kept is None or (row.kept is not None and same(row.kept, kept)):
        return None
    return Touched(row.part, uri, row.version, "", kept)


def _preference(row: Known) -> tuple[bool, bool, str]:
    """Embeddings before failures, committed rows before others; then in a fixed order."""
    return (row.stage != "", not row.committed, row.part)


def _usefulness(image: Image) -> tuple[bool, bool, str, str]:
    """Whole ones first, then those that carry values; then in a fixed order."""
    return (bool(image.error), image.kept is None, image.version, image.source)
