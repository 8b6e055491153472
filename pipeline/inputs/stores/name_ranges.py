"""List a bucket in ranges of names, so that several workers can share a large listing.

A range is half open, [start, end), in the order of UTF-8 bytes: the ranges into which one is split
hold each of its names exactly once, whatever the names are. Where to split follows from the names
that the store gives, not from guesses: from a prefix that all names share, requests for one or two
names each find the characters that come next.
"""

from __future__ import annotations

import functools
import itertools
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Executor, Future, ThreadPoolExecutor, wait
from typing import NamedTuple

from encoder.storage.base import FileInfo, OrderedStore
from encoder.storage.registry import ordered_store_for

THREADS = 16
PAGES_ALONE = 5  # a listing with more pages is split
_PAGES = 16  # of a range, until its rest is split or waits for its turn; all are held in memory
_ENOUGH = 4  # ranges that a split shall give; fewer are split once more
_MOST = 64  # ranges that a split gives
_EMPTY_PAGES = 3  # that a search for a name takes from a store
_ASCII = 0x80
_SURROGATES = range(0xD800, 0xE000)  # no text in UTF-8 has these
_CHARACTERS = 0x110000 - len(_SURROGATES)


class UnorderedError(OSError):
    """A store does not list names in order, so its listing can't be split."""


class NameRange(NamedTuple):
    """A range of addresses in a bucket.

    Attributes:
        prefix: what all of them begin with; at least the bucket and a slash.
        deep: whether to list names with further slashes behind the prefix.
        start: the first address; "" for the first of all.
        end: the first address behind the range; None for no end.
    """

    prefix: str
    deep: bool = True
    start: str = ""
    end: str | None = None

    def holds(self, path: str) -> bool:
        """Whether an address with the prefix is in the range."""
        return self.start <= path and (self.end is None or path < self.end)


class Turn(NamedTuple):
    """What listing a range for some pages gave.

    Attributes:
        files: without names that end in a slash, which some tools create for folders.
        rest: ranges that have yet to be listed.
    """

    files: list[FileInfo]
    rest: list[NameRange]


def list_start(names: NameRange) -> Turn:
    """List the first pages of a range; the rest is split, if there is any.

    Raises:
        UnorderedError: the store can't list ranges, or does not list names in order.
        OSError: the listing failed.
    """
    return _turn(names, PAGES_ALONE, splits=True)


def list_ranges(
    ranges: Iterable[tuple[int, NameRange]], hands_on: bool
) -> Iterator[tuple[int, Turn]]:
    """List ranges, several at a time.

    Args:
        ranges: each with a number that tells to what it belongs.
        hands_on: whether others list what remains of a range after some pages. If not, all ranges
            are listed to their ends, and all that is yielded has no rest.

    Raises:
        UnorderedError: a store does not list names in order.
        OSError: a listing failed, so what came so far is incomplete.
    """
    waiting = deque(ranges)
    running: dict[Future[Turn], int] = {}
    with ThreadPoolExecutor(THREADS, thread_name_prefix="list-ranges") as pool:
        while waiting or running:
            while waiting and len(running) < THREADS:
                number, names = waiting.popleft()
                splits = hands_on or len(waiting) + len(running) < THREADS // 2
                running[pool.submit(_turn, names, _PAGES, splits)] = number
            for done in wait(running, return_when=FIRST_COMPLETED).done:
                number, turn = running.pop(done), done.result()
                if hands_on:
                    yield number, turn
                else:
                    waiting.extend((number, rest) for rest in turn.rest)
                    yield number, turn._replace(rest=[])


def _turn(names: NameRange, pages: int, splits: bool) -> Turn:
    files: list[FileInfo] = []
    for number, (found, more) in enumerate(_pages(names), 1):
        files += found
        # The last file is the first of the rest. Pages may hold no file at all.
        if more and number >= pages and len(files) > 1:
            rest = names._replace(start=files.pop().path)
            return Turn(_without_folders(files), split(rest) if splits else [rest])
    return Turn(_without_folders(files), [])


def _without_folders(files: list[FileInfo]) -> list[FileInfo]:
    return [info for info in files if not info.path.endswith("/")]


def _pages(names: NameRange, most: int | None = None) -> Iterator[tuple[list[FileInfo], bool]]:
    """The files of a range page by page, with whether more follow. Their order is checked.

    Raises:
        UnorderedError: the store can't list ranges, or a page is not in order.
    """
    last = ""
    for page in _store_of(names).pages(*names, most=most):
        for info in page.files:
            if info.path <= last:
                raise UnorderedError(
                    f"{names.prefix}: the store lists {info.path!r} after {last!r}, not in the "
                    "order of names, so its listing can't be split"
                )
            last = info.path
        more = page.more and (names.end is None or last < names.end)
        yield [info for info in page.files if names.holds(info.path)], more
        if not more:
            return


def _store_of(names: NameRange) -> OrderedStore:
    store = ordered_store_for(names.prefix)
    if store is None:
        raise UnorderedError(f"{names.prefix}: the store can't list a range of names")
    return store


def split(names: NameRange) -> list[NameRange]:
    """Split a range into ranges that together hold the same names; none is empty.

    The range is split by the first characters in which its names differ, and its parts once more
    if these are few. A range whose names begin each other, such as a, aa, aaa, stays whole.

    Raises:
        UnorderedError, OSError: see list_start.
    """
    ranges = [names]
    with (
        ThreadPoolExecutor(_ENOUGH, thread_name_prefix="split") as cutting,
        ThreadPoolExecutor(THREADS, thread_name_prefix="probe") as probing,
    ):
        while len(ranges) < _ENOUGH:
            cut = functools.partial(_parts_of, most=_MOST // len(ranges), pool=probing)
            parts = cutting.map(cut, ranges)
            found = list(itertools.chain.from_iterable(parts))
            if len(found) == len(ranges):
                break
            ranges = found
    return ranges


def _parts_of(names: NameRange, most: int, pool: Executor) -> list[NameRange]:
    """A range, split by the first character in which its names differ; at most so many parts."""
    stem = _stem_of(names, pool)
    if stem is None:
        return [names]
    found = _next_characters(names, *stem, most, pool)
    cuts = [stem[0] + _character(each) for each in sorted(found)[1:]]
    starts, ends = [names.start, *cuts], [*cuts, names.end]
    return [names._replace(start=a, end=b) for a, b in zip(starts, ends, strict=True)]


def _stem_of(names: NameRange, pool: Executor) -> tuple[str, int] | None:
    """What all names begin with, and the first character that follows it.

    The name at the beginning of the others may be shorter, as that of a folder is. None if there
    are no others, or if they begin each other.
    """
    found = _names_from(names, names.start)
    if not found:
        return None
    first = found[-1] if found[-1].startswith(found[0]) else found[0]

    def is_shared(length: int) -> bool:
        return not _is_any_behind(names, first[:length])

    # The longest beginning of the first name that all others have.
    low, high = len(names.prefix), len(first)
    while low < high:
        tried = _between(low, high + 1, THREADS)
        shared = [at for at, is_it in zip(tried, pool.map(is_shared, tried), strict=True) if is_it]
        low = max(shared, default=low)
        high = min((at - 1 for at in tried if at > low), default=high)
    return (first[:low], _code(first[low])) if low < len(first) else None


def _is_any_behind(names: NameRange, beginning: str) -> bool:
    """Whether the range has names behind all those that begin so."""
    while _code(beginning[-1]) == _CHARACTERS - 1:
        beginning = beginning[:-1]
        if len(beginning) <= len(names.prefix):
            return False
    return bool(_names_from(names, beginning[:-1] + _character(_code(beginning[-1]) + 1)))


def _next_characters(
    names: NameRange, stem: str, first: int, most: int, pool: Executor
) -> set[int]:
    """The codes of the characters that follow the stem, or of some if there are more than `most`.

    Searches the gaps between known ones, the widest first, at several places at a time.
    """

    def look(code: int) -> int | None:
        """The first code from this one on."""
        found = _names_from(names, stem + _character(code))
        fits = found and found[0].startswith(stem) and len(found[0]) > len(stem)
        return _code(found[0][len(stem)]) if fits else None

    known = {first}
    gaps = [(first, _CHARACTERS)]  # each from a known code to where the next may be, or the end
    while gaps and len(known) < most:
        gaps.sort(key=lambda gap: (gap[0] - gap[1], gap))
        now, gaps = gaps[: most - len(known)], gaps[most - len(known) :]
        each = max(min(most - len(known), THREADS) // len(now), 1)
        places = [_places_in(low, high, each) for low, high in now]
        codes = pool.map(look, itertools.chain.from_iterable(places))
        for (start, high), tried in zip(now, places, strict=True):
            low: int | None = start
            for place, bound in zip(tried, [*tried[1:], high], strict=True):
                if low is not None:
                    gaps.append((low, place))
                code = next(codes)
                low = code if code is not None and code < bound else None
                if low is not None:
                    known.add(low)
            if low is not None:
                gaps.append((low, high))
        gaps = [(low, high) for low, high in gaps if high - low > 1]
    return known


def _places_in(low: int, high: int, count: int) -> list[int]:
    """Where to look in a gap between codes: most characters are in ASCII."""
    if low < _ASCII < high:
        return [*(_between(low, _ASCII, count - 1) if count > 1 else ()), _ASCII]
    return _between(low, high, count)


def _between(low: int, high: int, count: int) -> list[int]:
    """So many whole numbers between two others, at even distances; at least one if there is any."""
    steps = max(count, 1) + 1
    return sorted({low + (high - low) * step // steps for step in range(1, steps)} - {low})


def _names_from(names: NameRange, start: str) -> list[str]:
    """The first two names of a range from `start` on, or fewer if there are no more.

    Names in subfolders count, too. What this returns decides only where a range is split, not which
    names are listed.
    """
    start = max(start, names.start)
    if names.end is not None and start >= names.end:
        return []
    found: list[str] = []
    some = names._replace(start=start, deep=True)
    for files, _ in itertools.islice(_pages(some, most=2), _EMPTY_PAGES):
        found += [info.path for info in files]
        if len(found) > 1:
            break
    return found[:2]


def _code(character: str) -> int:
    """The number of a character among all but surrogates."""
    code = ord(character)
    return code if code < _SURROGATES.start else code - len(_SURROGATES)


def _character(code: int) -> str:
    """The inverse of _code."""
    return chr(code if code < _SURROGATES.start else code + len(_SURROGATES))
