"""Read the values of a JSON file one by one: JSON Lines, an array, or objects in any layout."""

from __future__ import annotations

import itertools
import json
import math
import re
from collections.abc import Iterator
from typing import NamedTuple

from pipeline.inputs.lists.base import LONGEST, ListError
from pipeline.inputs.lists.text_input import Text, lines_of, valid_text

Object = dict[str, object]

_CHUNK = 1 << 16  # characters
_DEEPEST = 100  # levels of nested values in a row
_TOO_DEEP = f"a row with more than {_DEEPEST} levels of nested values"
_EXPECTED = "Expected an object in each line, or an array of objects"
_BLANK = re.compile(r"[ \t\r\n]*")
_ARRAY = re.compile(r"\s*\[\s*(\{|\]|$)")


def _number(text: str) -> float | str:
    """A float; as text if it is too great for one."""
    value = float(text)
    return text if math.isinf(value) else value


_DECODER = json.JSONDecoder(parse_float=_number)


class Row(NamedTuple):
    """A row of a list in JSON.

    Attributes:
        place: where it is, such as "line 3".
        value: the object; an empty one with an error.
        error: why there is no object; None if there is one.
    """

    place: str
    value: Object
    error: str | None = None


def objects_of(text: Text, path: str) -> Iterator[Row]:
    """The objects of a file.

    A file that begins with an array of objects is that array. A file whose first line begins an
    object and ends where more must follow has objects that go over several lines. Every other file
    has an object in each line that is not blank; what is none becomes a row with an error.

    Raises:
        ListError: an object is too long, or an array or a series of objects is no JSON.
    """
    head = text.stream.read(_CHUNK)
    if _ARRAY.match(head):
        yield from _stream(_Buffer(text, head), path, True)
        return
    text.stream.seek(0)
    lines = ((number, line) for number, line in enumerate(lines_of(text, path, _EXPECTED), 1))
    filled = (each for each in lines if each[1].strip())
    first = list(itertools.islice(filled, 2))
    if first and _begins_object(first[0][1]) and not any(_is_json(line) for _, line in first):
        yield from _stream(_Buffer(text, "".join(line for _, line in first)), path, False)
        return
    for number, line in itertools.chain(first, filled):
        place = f"line {number}"
        try:
            yield _row(place, _DECODER.decode(line))
        except ValueError as error:
            yield Row(place, {}, valid_text(f"a row that is no JSON: {error}"))
        except RecursionError:
            yield Row(place, {}, _TOO_DEEP)


def _begins_object(line: str) -> bool:
    text = line.strip()
    return text.startswith("{") and text.endswith(("{", "[", ",", ":"))


def _row(place: str, value: object) -> Row:
    if not isinstance(value, dict):
        return Row(place, {}, "a row that is no JSON object")
    if _is_deep(value):
        return Row(place, {}, _TOO_DEEP)
    return Row(place, value)


def _is_deep(value: Object) -> bool:
    level: list[Object | list[object]] = [value]
    for _ in range(_DEEPEST):
        children = (each.values() if isinstance(each, dict) else each for each in level)
        level = [child for each in children for child in each if isinstance(child, dict | list)]
        if not level:
            return False
    return True


def _is_json(line: str) -> bool:
    try:
        _DECODER.decode(line)
    except (ValueError, RecursionError):
        return False
    return True


class _Buffer:
    """The characters of a file from a place on, as many as are needed.

    Args:
        text: the file.
        head: characters that were read from it already.
    """

    def __init__(self, text: Text, head: str) -> None:
        self._text = text
        self._held = head
        self._place = 0  # in what is held; cutting it off after each value would copy the rest
        self._chunk = _CHUNK
        self.ended = False

    def skip(self, number: int) -> None:
        """Go forward by some characters."""
        self._go_to(self._place + number)

    def peek(self) -> str:
        """The next character that is not blank; "" at the end."""
        while True:
            blank = _BLANK.match(self._held, self._place)
            self._go_to(blank.end())  # type: ignore[union-attr]  # matches everything
            if self._place < len(self._held) or self.ended:
                return self._held[self._place : self._place + 1]
            self.more()

    def more(self) -> None:
        """Read on. Each time, twice as much is read, so that long values are not parsed often."""
        read = self._text.stream.read(self._chunk)
        self._chunk *= 2
        self._held = self._held[self._place :] + read
        self._place = 0
        self.ended = not read

    def value(self, path: str, place: str) -> object:
        """The next value."""
        while True:
            try:
                value, end = _DECODER.raw_decode(self._held, self._place)
            except RecursionError as error:
                raise ListError(f"{path} has {_TOO_DEEP}: {place}. {_EXPECTED}") from error
            except ValueError as error:
                if self.ended or len(self._held) - self._place > LONGEST:
                    raise ListError(
                        valid_text(
                            f"{path} is no list in JSON: the object in {place} is longer than "
                            f"{LONGEST:,} characters, or wrong ({error}). {_EXPECTED}"
                        )
                    ) from error
            else:
                # More digits of a number may follow.
                if end < len(self._held) or self.ended:
                    self._go_to(end)
                    return value
            self.more()

    def _go_to(self, place: int) -> None:
        self._place = place
        self._chunk = _CHUNK


def _stream(buffer: _Buffer, path: str, is_array: bool) -> Iterator[Row]:
    """The objects of an array, or one after the other."""
    if is_array:
        buffer.peek()
        buffer.skip(1)
    for number in itertools.count(1):
        place = f"row {number}"
        following = buffer.peek()
        if is_array and following == "]":
            buffer.skip(1)
            if rest := buffer.peek():
                raise ListError(f"{path} goes on with {rest!r} after its array, behind {place}")
            return
        if not is_array and not following:
            return
        if is_array and number > 1:
            if following != ",":
                found = repr(following) if following else "the end of the file"
                raise ListError(
                    f"{path} is no whole array: expected ',' or ']' before {place}, found {found}"
                )
            buffer.skip(1)
            buffer.peek()
        yield _row(place, buffer.value(path, place))
