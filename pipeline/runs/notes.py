"""What a run tells the user about its inputs, in lines."""

from __future__ import annotations

import functools
import os
import posixpath
import re
from collections.abc import Iterable

from encoder.printable import cut
from encoder.storage.registry import is_remote
from pipeline.inputs.uris import archive_of, path_of, readable
from pipeline.options import count_text
from pipeline.records import Note
from pipeline.runs.rules import Decision

_LOOKS = 1 << 16  # folders that are remembered as there or gone
_NOUN = re.compile(r"\{([^{}]+)\}")


def note_lines(notes: Iterable[Note]) -> list[str]:
    """One line for all notes with the same subject and text, in a fixed order."""
    counts: dict[tuple[str, str], tuple[int, str]] = {}
    for note in notes:
        count, example = counts.get((note.subject, note.text), (0, ""))
        examples = [each for each in (example, note.example) if each]
        counts[note.subject, note.text] = (count + note.number, min(examples, default=""))
    return [_line(*key, *counts[key]) for key in sorted(counts)]


class Remarks:
    """Collects what there is to tell about the decisions of planning."""

    def __init__(self) -> None:
        self._found: dict[tuple[str, str], tuple[int, str]] = {}
        self._is_folder = functools.lru_cache(_LOOKS)(os.path.isdir)

    def add(self, uri: str, decision: Decision) -> None:
        """Note what is worth telling about the decision for one uri."""
        if decision.differs:
            text = (
                "{image} named several times, with different values to keep; the first counts, in "
                "the order of the inputs and of their rows"
            )
            self._count("--keep", text, uri)
        if decision.stays:
            folder = posixpath.dirname(path_of(archive_of(uri) or uri))
            if is_remote(folder) or self._is_folder(folder):
                self._count("dataset", "keeps {row} outside these inputs", uri)
            else:
                text = (
                    "keeps {row} outside these inputs whose folder is gone; 'python -m pipeline "
                    "prune OUTPUT --uri-prefix FOLDER' removes them"
                )
                self._count("dataset", text, uri)

    def notes(self) -> list[Note]:
        """The notes so far."""
        return [Note(*key, *found) for key, found in self._found.items()]

    def _count(self, subject: str, text: str, uri: str) -> None:
        count, example = self._found.get((subject, text), (0, uri))
        self._found[subject, text] = (count + 1, min(example, uri))


def _line(subject: str, text: str, count: int, example: str) -> str:
    told = _NOUN.sub(lambda noun: count_text(count, noun[1]), text, count=1)
    return readable(cut(f"{subject}: {told}" + (f", such as {example}" if example else "")))
