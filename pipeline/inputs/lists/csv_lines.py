"""Split lines of CSV and TSV into values, in all dialects that people write.

A line is a row. Only a quote that stays open at the end of a line can make several lines one row.
Quotes that do not enclose whole values are part of the values, as in files whose writer did not
quote. So a stray quote concerns its own line, and no line disappears.
"""

from __future__ import annotations

import re
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from typing import Final, Literal, NamedTuple

from pipeline.inputs.lists.base import LONGEST, ListError
from pipeline.inputs.uris import readable
from pipeline.options import Quoting
from pipeline.records import Note

_QUOTE = '"'
_DELIMITERS = (",", ";", "\t", "|")
_SHOWN = 200  # characters of a wrong row in an error
_SEPARATOR = re.compile(r'"?sep=(.)"?', re.I)  # the first line of some files of Excel

_State = Literal["whole", "open", "broken"]
_WHOLE: Final = "whole"
_OPEN: Final = "open"
_BROKEN: Final = "broken"


class Line(NamedTuple):
    """A row of CSV.

    Attributes:
        number: of its first line, from 1.
        values: one per column, if there is no error.
        error: why the row can't be used; None if it can.
    """

    number: int
    values: list[str]
    error: str | None


class _InVain(NamedTuple):
    """A row that was read over several lines in vain, which are rows of their own.

    Behind a quote that is open at the end of a line, a row goes on in the same way, whatever its
    first line is. So this shows what later lines among them would lead to, and each line is read
    ahead only once: otherwise a list in which many lines end with a lone quote takes hours.

    Attributes:
        first: number of the first line.
        counts: how many values were complete after each line.
        state: of the row after the last line.
        last_fit: number of the last line that can be a row of its own; 0 for none.
    """

    first: int
    counts: list[int]
    state: _State
    last_fit: int

    def foreseen(self, number: int, count: int, width: int) -> _State | None:
        """What reading on from a line leads to; None if only reading shows that.

        Args:
            number: of the line, whose last quote is open.
            count: how many values are complete after it.
            width: the right number of values.
        """
        place = number - self.first
        if not 0 <= place < len(self.counts) - 1:
            return None
        if self.state != _WHOLE:
            return self.state
        total = count + self.counts[-1] - self.counts[place]
        return _OPEN if total != width and number <= self.last_fit else None


class CsvLines:
    """The rows of CSV.

    Args:
        lines: the lines of the file, with their ends.
        path: the list's path, for errors. A name with ``.tsv`` has tabs between values.
        wanted: columns whose names show which delimiter is the right one.
        delimiter: the character between values; None to recognise it.
        quoting: "standard" to enclose values in quotes as RFC 4180 defines it; "none" for quotes
            that are always part of values; "auto" to decide line by line.

    Attributes:
        names: the names in the first row.
        delimiter: the character between values.

    Raises:
        ListError: there is no row at all.
    """

    def __init__(
        self,
        lines: Iterator[str],
        path: str,
        wanted: Sequence[str],
        delimiter: str | None,
        quoting: Quoting,
    ) -> None:
        self._lines = _Numbered(lines)
        self._path = path
        self._quoting = quoting
        self._in_vain = _InVain(0, [], _OPEN, 0)
        self._counts: Counter[str] = Counter()
        self._examples: dict[str, str] = {}
        self._usual = "\t" if re.search(r"\.tsv(\.\w+)?$", path, re.I) else ","
        stated = self._separator()
        known = delimiter or stated
        others = [each for each in _DELIMITERS if each != self._usual]
        self.delimiter = known or self._usual
        self.names = self._header(self.delimiter)
        for other in () if known else others:
            if all(name in self.names for name in wanted):
                break
            names = self._header(other)
            if all(name in names for name in wanted):
                self.delimiter, self.names = other, names
        self._span(self.delimiter)  # the rows begin behind the header

    @property
    def unusual_delimiter(self) -> str | None:
        """The delimiter, if it is not the usual one for the file's name."""
        return None if self.delimiter == self._usual else self.delimiter

    def __iter__(self) -> Iterator[Line]:
        """The rows that are not empty; one with a wrong number of values has an error."""
        width = len(self.names)
        for number, line in self._lines:
            body = line.rstrip("\r\n")
            if not body:
                continue
            if self._quoting == "none" or _QUOTE not in body:
                yield _line(number, body.split(self.delimiter), width, body)
            else:
                yield self._quoted(number, line, width)

    def notes(self) -> list[Note]:
        """What there is to tell about quotes, after all rows were read."""
        return [
            Note(self._path, text, count, self._examples[text])
            for text, count in self._counts.items()
        ]

    def _quoted(self, number: int, line: str, width: int) -> Line:
        """The row that begins with a line with quotes."""
        body = line.rstrip("\r\n")
        record = _Record(self.delimiter)
        state = record.feed(line)
        span = [(number, line)]
        if state == _OPEN:
            state = self._in_vain.foreseen(number, len(record.values), width) or self._close(
                record, span
            )
        if state == _WHOLE and len(record.values) == width and not self._is_literal(span):
            return Line(number, record.values, None)
        # The lines behind the first are rows of their own if one of them can be.
        if len(span) > 1 and (state != _WHOLE or any(self._fits(line) for _, line in span)):
            self._note_in_vain(record, span, state)
            self._lines.push_back(span[1:])
            del span[1:]
            state = _OPEN if state == _WHOLE else state
        if self._quoting == "auto" and len(span) == 1 and self._fits(line):
            self._count(
                "{line} whose quotes do not enclose values, taken literally (--list-quoting "
                "standard makes them failures)",
                number,
            )
            return Line(number, body.split(self.delimiter), None)
        if state == _WHOLE:
            return _line(number, record.values, width, body)
        problem = "with a quote that is not closed" if state == _OPEN else "with misplaced quotes"
        return Line(number, [], f"a row {problem}: {readable(body[:_SHOWN])}")

    def _fits(self, line: str) -> bool:
        """Whether a line has the right number of values if quotes mean nothing."""
        return len(line.split(self.delimiter)) == len(self.names)

    def _close(self, record: _Record, span: list[tuple[int, str]]) -> _State:
        """Read on until the open quote is closed. Adds the lines to the span."""
        size = len(span[0][1])
        for number, line in self._lines:
            span.append((number, line))
            size += len(line)
            state = record.feed(line)
            if state != _OPEN or size > LONGEST:
                return state
        return _OPEN

    def _note_in_vain(self, record: _Record, span: list[tuple[int, str]], state: _State) -> None:
        """Keep what reading these lines as one row has shown; see _InVain."""
        fits = (number for number, line in reversed(span) if self._fits(line))
        self._in_vain = _InVain(span[0][0], record.counts, state, next(fits, 0))

    def _is_literal(self, span: list[tuple[int, str]]) -> bool:
        """Whether lines that could be one row with line ends in a value are a row each."""
        if self._quoting != "auto" or len(span) == 1:
            return False
        alike = all(self._fits(line) for _, line in span)
        if alike and self.delimiter != "\t":
            self._count(
                "{row} over several lines that could be rows of their own (--list-quoting none "
                "makes each line a row)",
                span[0][0],
            )
        return alike and self.delimiter == "\t"

    def _count(self, text: str, number: int) -> None:
        self._counts[text] += 1
        self._examples.setdefault(text, f"line {number}")

    def _separator(self) -> str | None:
        """The delimiter that the first line states; takes that line away."""
        for number, line in self._lines:
            found = _SEPARATOR.fullmatch(line.rstrip("\r\n"))
            if not found:
                self._lines.push_back([(number, line)])
            return found[1] if found else None
        return None

    def _header(self, delimiter: str) -> list[str]:
        """The first row that is not empty; it stays to be read."""
        names, span = self._span(delimiter)
        self._lines.push_back(span)
        return names

    def _span(self, delimiter: str) -> tuple[list[str], list[tuple[int, str]]]:
        """The first row that is not empty, and its lines."""
        for number, line in self._lines:
            body = line.rstrip("\r\n")
            if not body:
                continue
            span = [(number, line)]
            record = _Record(delimiter)
            state = record.feed(line) if self._quoting != "none" else _BROKEN
            if state == _OPEN:
                state = self._close(record, span)
                if state != _WHOLE:
                    self._lines.push_back(span[1:])
                    del span[1:]
            values = record.values if state == _WHOLE else body.split(delimiter)
            return [readable(value) for value in values], span
        raise ListError(
            f"{self._path} is empty; expected a first row with the names of its columns"
        )


class _Numbered:
    """Lines with their numbers, from 1. Lines can be pushed back, to be read again."""

    def __init__(self, lines: Iterator[str]) -> None:
        self._lines = enumerate(lines, start=1)
        self._waiting: deque[tuple[int, str]] = deque()

    def __iter__(self) -> Iterator[tuple[int, str]]:
        while True:
            line = self._waiting.popleft() if self._waiting else next(self._lines, None)
            if line is None:
                return
            yield line

    def push_back(self, lines: Sequence[tuple[int, str]]) -> None:
        """Put lines before those that are not read yet."""
        self._waiting.extendleft(reversed(lines))


class _Record:
    """Splits one row as RFC 4180 defines it, line by line. Values without quotes may hold some.

    Attributes:
        values: those that are complete.
        counts: how many were complete after each line.
    """

    def __init__(self, delimiter: str) -> None:
        self.values: list[str] = []
        self.counts: list[int] = []
        self._delimiter = delimiter
        self._open: list[str] | None = None  # pieces of the value whose quote is open

    def feed(self, line: str) -> _State:
        """Take the next line of the row. Returns whether the row is whole, open or broken."""
        state = self._split(line)
        self.counts.append(len(self.values))
        return state

    def _split(self, line: str) -> _State:
        end = len(line.rstrip("\r\n"))
        place = 0
        while True:
            if self._open is None:
                if not line.startswith(_QUOTE, place):
                    stop = line.find(self._delimiter, place, end)
                    self.values.append(line[place : stop if stop >= 0 else end])
                    if stop < 0:
                        return _WHOLE
                    place = stop + 1
                    continue
                self._open = []
                place += 1
            stop = line.find(_QUOTE, place)
            if stop < 0:
                self._open.append(line[place:])
                return _OPEN
            self._open.append(line[place:stop])
            place = stop + 1
            if line.startswith(_QUOTE, place):  # two quotes stand for one
                self._open.append(_QUOTE)
                place += 1
                continue
            self.values.append("".join(self._open))
            self._open = None
            if place >= end:
                return _WHOLE
            if line[place] != self._delimiter:
                return _BROKEN
            place += 1


def _line(number: int, values: list[str], width: int, text: str) -> Line:
    if len(values) == width:
        return Line(number, values, None)
    shown = readable(text[:_SHOWN])
    return Line(number, [], f"a row with {len(values)} values instead of {width}: {shown}")
