"""What a run tells the user about its inputs, in lines."""

from __future__ import annotations

import re
from collections.abc import Iterable

from pipeline.inputs.uris import readable
from pipeline.options import count_text
from pipeline.records import Note

_NOUN = re.compile(r"\{([^{}]+)\}")


def note_lines(notes: Iterable[Note]) -> list[str]:
    """One line for all notes with the same subject and text, in a fixed order."""
    counts: dict[tuple[str, str], tuple[int, str]] = {}
    for note in notes:
        count, example = counts.get((note.subject, note.text), (0, ""))
        examples = [each for each in (example, note.example) if each]
        counts[note.subject, note.text] = (count + note.number, min(examples, default=""))
    return [_line(*key, *counts[key]) for key in sorted(counts)]


def _line(subject: str, text: str, count: int, example: str) -> str:
    told = _NOUN.sub(lambda noun: count_text(count, noun[1]), text, count=1)
    return readable(f"{subject}: {told}" + (f", such as {example}" if example else ""))
