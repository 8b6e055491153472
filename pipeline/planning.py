"""What to do about one image, from what was listed and what the output holds: the rules."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from pipeline.inputs import Input
from pipeline.records import DECODE, Image, Known, Todo


class Decision(NamedTuple):
    """The outcome for one uri.

    Attributes:
        todo: the image to read and embed, if any.
        stale: parts whose row of this uri has to go.
        counts: by the names of the run record, besides "gone from INPUT" for each input that
            would have listed an image which is deleted.
    """

    todo: Todo | None
    stale: list[str]
    counts: Counter[str]


def decide(
    uri: str,
    listed: Iterable[Image],
    known: Iterable[Known],
    inputs: Sequence[Input],
    retry_failures: bool,
) -> Decision:
    """Apply the incremental rules to one uri.

    Args:
        uri: of the image.
        listed: what the inputs said of it; several where several inputs reach it.
        known: its rows in the output, embeddings and failures.
        inputs: of this run.
        retry_failures: try again what could not be decoded, too.
    """
    rows = sorted(known, key=_preference)
    image = next(iter(sorted(listed)), None)
    if image is None:
        return _not_listed(uri, rows, inputs)
    counts = Counter(listed=1)
    kept = _kept_row(image, rows, retry_failures)
    if kept is not None:
        counts["unchanged" if kept.committed else "resumed"] += 1
        return Decision(None, [row.part for row in rows if row is not kept], counts)
    old = next((row for row in rows if not row.stage), None)
    known_before = any(row.committed and row.version != image.version for row in rows)
    counted = "changed" if known_before else "new"
    counts[counted] += 1
    todo = Todo(image, counted, old.part, old.sha256) if old else Todo(image, counted)
    return Decision(todo, [row.part for row in rows], counts)


def gone_from(text: str) -> str:
    """The count of deletions that rest on one input's listing."""
    return f"gone from {text}"


def _not_listed(uri: str, rows: list[Known], inputs: Sequence[Input]) -> Decision:
    speaking = [each for each in inputs if each.covers(uri)]
    if not speaking:  # this run knows nothing of it: one row stays, as if its run had ended well
        kept = rows[0]
        return Decision(None, [row.part for row in rows if row is not kept], Counter())
    counts: Counter[str] = Counter()
    if any(row.committed for row in rows):
        counts["deleted"] += 1
        counts.update(gone_from(each.text) for each in speaking)
    return Decision(None, [row.part for row in rows], counts)


def _kept_row(image: Image, rows: list[Known], retry_failures: bool) -> Known | None:
    if image.error:
        return None
    for row in rows:
        lasting = row.stage == "" or (row.stage == DECODE and not retry_failures)
        if lasting and row.version == image.version:
            return row
    return None


def _preference(row: Known) -> tuple[bool, bool, str]:
    """Embeddings before failures, committed rows before others; then in a fixed order."""
    return (row.stage != "", not row.committed, row.part)
