"""Count what listing an input leaves aside, and say it in notes with the way to take it."""

from __future__ import annotations

import re
import shlex
from collections import Counter
from collections.abc import Iterator
from typing import Final, Literal, NamedTuple

from encoder.storage.base import join
from pipeline.inputs.file_kinds import is_left_out, leftovers_in, list_kind
from pipeline.inputs.patterns import extension_of, fits, literal_brackets, matches
from pipeline.inputs.source import EXCLUDED, HIDDEN, LEFTOVER, OTHER, TAKEN, Input, Verdict
from pipeline.options import count_text
from pipeline.records import Note

_MOST_LINES = 5  # about extensions; a further line sums up the others
_MOST_EXTENSIONS = 1000  # counted one by one
_NAMED = 5  # in a line that sums up
_PLAIN = re.compile(r"\.[^\s{}\[\]*\\]+")  # other text behind a dot is no extension
_NONE = ""  # stands for files without an extension

_Group = Literal[
    "extension", "leftover", "leftover file", "hidden", "exclude", "include", "bracket", "matched"
]
_EXTENSION: Final = "extension"
_FOLDER: Final = "leftover"
_FILE: Final = "leftover file"
_HIDDEN: Final = "hidden"
_EXCLUDE: Final = "exclude"
_INCLUDE: Final = "include"
_BRACKET: Final = "bracket"
_MATCHED: Final = "matched"


class _Key(NamedTuple):
    """What is counted together, such as the files with one extension."""

    group: _Group
    name: str


class LeftAside:
    """Counts the files and folders that listing an input comes across, by what becomes of them.

    Args:
        source: the input.

    Attributes:
        is_empty: whether the input has listed nothing.
    """

    def __init__(self, source: Input) -> None:
        self.is_empty = True
        self._source = source
        self._subject = f"--input {source.text}"
        self._counts: Counter[_Key] = Counter()
        self._examples: dict[_Key, str] = {}
        self._below: set[str] = set()  # extensions of files that are in subfolders
        self._start = len(join(source.base, ""))
        self._literal = literal_brackets(source.pattern)

    def add_file(self, path: str, verdict: Verdict) -> None:
        """Count a file."""
        if verdict == TAKEN:
            for pattern in self._source.including(path):
                self._add(_Key(_INCLUDE, pattern), path)
        elif verdict == EXCLUDED:
            self._add_excluded(path, is_folder=False)
        elif verdict == LEFTOVER:
            self._add(_Key(_FILE, leftovers_in(self._inside(path))[0]), path)
        elif verdict == HIDDEN:
            self._add(_Key(_HIDDEN, ""), path)
        elif verdict == OTHER:
            self._add_other(path)

    def add_folder(self, path: str, verdict: Verdict) -> None:
        """Count a folder that is not searched."""
        if verdict == EXCLUDED:
            self._add_excluded(path, is_folder=True)
        elif verdict == LEFTOVER:
            self._add(_Key(_FOLDER, path.rpartition("/")[2]), path)
        elif verdict == HIDDEN and not self._source.pattern:
            self._add(_Key(_HIDDEN, ""), path)

    def add_unsearched(self, path: str) -> None:
        """Count a folder that lies deeper than the files of a glob, if the glob matches it."""
        if matches(self._source.pattern, self._inside(path)):
            self._add(_Key(_MATCHED, ""), path)

    def merge(self, other: LeftAside) -> None:
        """Add what listing another part of the same input came across."""
        self.is_empty &= other.is_empty
        self._counts.update(other._counts)
        for key, path in other._examples.items():
            self._examples[key] = min(path, self._examples.get(key, path))
        self._below |= other._below

    def notes(self) -> Iterator[Note]:
        """What there is to say when the listing is complete."""
        if self.is_empty:
            yield self._nothing_found()
        for pattern in self._source.exclude:
            yield self._note(_Key(_EXCLUDE, pattern), "matched {path}", f"--exclude {pattern!r}")
        for pattern in self._source.include:
            yield self._note(_Key(_INCLUDE, pattern), "matched {file}", f"--include {pattern!r}")
        if not self._source.pattern:
            yield from self._extension_notes()
        if matched := self._of(_MATCHED):
            yield self._note(matched[0], self._text_for_folders())
        if hidden := self._of(_HIDDEN):
            yield self._note(hidden[0], "{hidden path} left aside; --include takes what it names")
        yield from self._leftover_notes(_FOLDER, "{folder}")
        yield from self._leftover_notes(_FILE, "{file} in folders")

    def _nothing_found(self) -> Note:
        """What to say if the input has no image, archive or list."""
        return Note(self._subject, f"finds nothing{self._hint()}", 1, "")

    def _hint(self) -> str:
        source = self._source
        if source.excluded and f"{source.base}/".startswith(f"{source.excluded}/"):
            return ": it is in the folder of --output, which is never listed"
        if brackets := self._of(_BRACKET):
            count = count_text(self._counts[brackets[0]], "file")
            return (
                f": a part in brackets stands for one character; {count} would match with the "
                "brackets taken literally, for which write [[] for ["
            )
        extensions = self._of(_EXTENSION)
        if source.pattern and extensions:
            found = (f"{self._counts[key]:,} {key.name or 'without one'}" for key in extensions)
            return f": no file matches; by extension there are {_some(list(found))}"
        return ": no file matches" if source.pattern else ": there is no image and no archive"

    def _extension_notes(self) -> Iterator[Note]:
        keys = self._of(_EXTENSION)
        for key in keys[:_MOST_LINES]:
            yield self._note(key, self._text_for(key.name))
        if others := keys[_MOST_LINES:]:
            total = sum(self._counts[key] for key in others)
            shown = _some([key.name or "none" for key in others])
            text = f"{{file}} left aside with other extensions ({shown}); --include takes them"
            yield Note(self._subject, text, total, self._examples[others[0]])

    def _text_for(self, extension: str) -> str:
        if extension == _NONE:
            return "{file} left aside without an extension; --include with their names takes them"
        text = f"{{file}} left aside with the extension {extension}"
        if list_kind(f"x{extension}"):
            middle = "**/" if extension in self._below else ""
            pattern = join(self._source.base, f"{middle}*{extension}")
            return f"{text}; --input {shlex.quote(pattern)} reads them"
        return f"{text}; --include {shlex.quote(f'*{extension}')} takes them"

    def _text_for_folders(self) -> str:
        text = "{folder} left aside whose name matches, since globs take files"
        extension = extension_of(self._source.pattern)
        if list_kind(f"x{extension}"):
            return f"{text}; --input {shlex.quote(f'{self._source.text}/*{extension}')} reads them"
        return f"{text}; --input with the folder itself searches it"

    def _leftover_notes(self, group: _Group, noun: str) -> Iterator[Note]:
        keys = self._of(group)
        if keys:
            shown = ", ".join(sorted({key.name for key in keys}))
            total = sum(self._counts[key] for key in keys)
            text = (
                f"{noun} of a NAS or a system left aside ({shown}); --include takes what it names"
            )
            yield Note(self._subject, text, total, self._examples[keys[0]])

    def _add_other(self, path: str) -> None:
        inside = self._inside(path)
        if self._source.pattern and is_left_out(inside):
            return  # a glob leaves these aside as shells do
        extension = extension_of(inside)
        name = extension if _PLAIN.fullmatch(extension) else _NONE
        key = _Key(_EXTENSION, name)
        if key not in self._counts and len(self._counts) >= _MOST_EXTENSIONS:
            key = _Key(_EXTENSION, _NONE)
        self._add(key, path)
        if "/" in inside:
            self._below.add(key.name)
        if self._literal and fits(self._literal, inside):
            self._add(_Key(_BRACKET, ""), path)

    def _add_excluded(self, path: str, is_folder: bool) -> None:
        for pattern in self._source.excluding(path, is_folder):
            self._add(_Key(_EXCLUDE, pattern), path)

    def _add(self, key: _Key, path: str) -> None:
        self._counts[key] += 1
        self._examples.setdefault(key, path)

    def _of(self, group: _Group) -> list[_Key]:
        """The counted keys of a group, the most frequent first."""
        keys = [key for key in self._counts if key.group == group]
        return sorted(keys, key=lambda key: (-self._counts[key], key.name))

    def _note(self, key: _Key, text: str, subject: str | None = None) -> Note:
        return Note(subject or self._subject, text, self._counts[key], self._examples.get(key, ""))

    def _inside(self, path: str) -> str:
        return path[self._start :]


def _some(texts: list[str]) -> str:
    more = ", ..." if len(texts) > _NAMED else ""
    return ", ".join(texts[:_NAMED]) + more
