"""The lines that a run prints when it is done."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, get_args

from pipeline.dataset.layout import encoder_folder
from pipeline.dataset.manifest import RunRecord
from pipeline.records import EMBEDDINGS, FAILURES, Part
from pipeline.runs.accounting import failure_reasons
from pipeline.runs.foreseen import Foreseen
from pipeline.runs.notes import note_lines

_Done = Literal["embedded", "failed", "deleted", "resumed"]
_DONE: tuple[_Done, ...] = get_args(_Done)


def summary_lines(record: RunRecord, output: str, failures: Sequence[Part]) -> list[str]:
    """The run record in a few lines."""
    encoder_id, run_id = record["encoder_id"], record["run_id"]
    lines = [
        f"run {run_id} committed: {record['listed']:,} images listed",
        f"  embedded   {record['embedded']:,}{_rate(record)}",
        f"  unchanged  {record['unchanged']:,}",
    ]
    for name, count, note in (
        ("copied", record["copied"], "of the embedded: the vector of a row with the same content"),
        ("resumed", record["resumed"], "embedded by a run that did not commit"),
        ("renewed", record.get("renewed", 0), "other values to keep; the vectors stay"),
        ("repeated", record.get("repeated", 0), "named more than once; the first counts"),
        ("deleted", record["deleted"], "gone; their rows went too"),
        ("failed", record["failed"], f"{output}/{encoder_folder(FAILURES, encoder_id)}/"),
    ):
        if count:
            lines.append(f"  {name:<9}  {count:,} ({note})")
    own = [part for part in failures if f"/run={run_id}/" in part.path]
    lines.extend(f"             {reason}" for reason in failure_reasons(output, own))
    done = (record[name] for name in _DONE)
    if not any(done) and not record.get("renewed"):
        lines.append("nothing to do: no image is new, changed or gone")
    waiting = sum(part.rows for part in failures) - sum(part.rows for part in own)
    if waiting:
        lines.append(f"{waiting:,} that failed before wait for a new version (--retry-failures)")
    lines.extend(f"note: {each}" for each in record.get("notes", []))
    lines.append(f"dataset      {output}/{encoder_folder(EMBEDDINGS, encoder_id)}/")
    return lines


def foreseen_lines(foreseen: Foreseen) -> list[str]:
    """What a run would count, in lines, and what there is to tell."""
    looked = (foreseen.files, foreseen.packed)
    totals = foreseen.totals
    rare = ("renewed", "repeated")  # told only where there are some
    lines = [f"{name:<10} {totals[name]:,}" for name in totals if totals[name] or name not in rare]
    copied = f"copied     {sum(each.of(each.copied) for each in looked):,}"
    images, read = sum(each.images for each in looked), sum(each.read for each in looked)
    if 0 < read < images:
        copied += f" (estimated: {read:,} of {images:,} images were read to see)"
    notes = [f"note: {each}" for each in note_lines(foreseen.notes)]
    return [*lines, copied, *notes]


def _rate(record: RunRecord) -> str:
    if not record["embedded"]:
        return ""
    seconds, rate = record["seconds"], record["images_per_second"]
    return f" in {seconds:.1f} s, {rate:.1f} images/s, start-up included"
