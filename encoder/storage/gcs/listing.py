"""List objects of a bucket: page by page, and large listings in several ranges of names at once.

A bucket gives names in order, a thousand at a time, and takes a range of names to list. Once a
listing has turned out to be large, a range that goes on is cut in two wherever there is a thread
to spare, half way by the characters that names were found to have. So the work is balanced by what
is found, whether the names lie in many folders or in one.
"""

from __future__ import annotations

import contextlib
import itertools
import queue
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

from encoder.storage.base import GCS_PREFIX
from encoder.storage.gcs.client import gcs_client, retrying, timeouts, translated_errors

THREADS = 16
FIELDS = "items(name,generation,crc32c,size,updated),nextPageToken"
_PAGES_ALONE = 4  # before a listing is large
_PAGES_WAITING = 32  # in memory


class Listed(NamedTuple):
    """An object as a listing has it: its name, generation and size in bytes."""

    name: str
    generation: str
    size: int


Page = list[Listed]


class Span:
    """A range of names, from start up to end, which may be brought forward while it is listed."""

    def __init__(self, start: str | None = None, end: str | None = None) -> None:
        self.start = start
        self.end = end
        self.first = self.last = ""  # names of the page that was found last
        self.pages = 0  # since it began, or was cut


class Lister:
    """Lists one bucket.

    Args:
        bucket: its name, and the project that pays if that is not its own.
        prefix: of the names.
        deep: also what lies deeper than the prefix, by the slashes in the names.
    """

    def __init__(self, bucket: Any, prefix: str, deep: bool = True) -> None:
        self._bucket = bucket
        self._prefix = prefix
        self._delimiter = None if deep else "/"
        self._lock = threading.Condition()
        self._spans: list[Span] = []  # that are being listed
        self._alphabet: set[str] = set()
        self._pages = self._empty = 0
        self._queue: queue.Queue[Page | Exception | None] = queue.Queue(_PAGES_WAITING)
        self._finished = False  # all is listed
        self._left = False  # nobody wants it any more

    def list(self) -> Iterator[Page]:
        """All pages; of a small listing in order.

        Raises:
            OSError: the listing failed. It is not complete then.
        """
        span = Span()
        pages = self._pages_of(span)
        first = list(itertools.islice(pages, _PAGES_ALONE))
        yield from first
        if len(first) < _PAGES_ALONE:
            return
        self._spans.append(span)
        with ThreadPoolExecutor(THREADS, thread_name_prefix="list-bucket") as pool:
            pool.submit(self._work, pages, span)
            for _ in range(THREADS - 1):
                pool.submit(self._help)
            try:
                yield from self._arriving()
            finally:
                with self._lock:
                    self._left = True
                    self._lock.notify_all()

    def _arriving(self) -> Iterator[Page]:
        while (page := self._queue.get()) is not None:
            if isinstance(page, Exception):
                raise page
            yield page

    def _pages_of(self, span: Span) -> Iterator[Page]:
        with translated_errors(f"{GCS_PREFIX}{self._bucket.name}"):
            found = gcs_client().list_blobs(
                self._bucket,
                prefix=self._prefix or None,
                delimiter=self._delimiter,
                start_offset=span.start,
                end_offset=span.end,
                fields=FIELDS,
                projection="noAcl",
                timeout=timeouts(),
                retry=retrying(),
            )
            for blobs in found.pages:
                page = [Listed(b.name, str(b.generation), int(b.size)) for b in blobs]
                more = found.next_page_token is not None
                with self._lock:
                    more, page = self._take(span, page, more)
                yield page
                if not more:
                    return

    def _take(self, span: Span, page: Page, more: bool) -> tuple[bool, Page]:
        """Note what was found; gives whether there is more of the span, and what is in it."""
        self._pages += 1
        self._empty += not page
        span.pages += 1
        if page:
            span.first, span.last = page[0].name, page[-1].name
            self._alphabet.update(*(each.name[len(self._prefix) :] for each in page))
        if span.end is not None and page and page[-1].name >= span.end:
            return False, [each for each in page if each.name < span.end]
        if more:
            self._lock.notify()
        return more, page

    def _work(self, pages: Iterator[Page], span: Span) -> None:
        try:
            for page in pages:
                self._put(page)
                if self._left:
                    return
        except Exception as error:  # raised again by the thread that wants the listing
            self._put(error)
        finally:
            with self._lock:
                self._spans.remove(span)
                self._finished = finished = not self._spans
                self._lock.notify_all()
            if finished:
                self._put(None)

    def _help(self) -> None:
        while True:
            with self._lock:
                while (span := self._cut()) is None:
                    if self._finished or self._left:
                        return
                    self._lock.wait()
                self._spans.append(span)
            self._work(self._pages_of(span), span)

    def _cut(self) -> Span | None:
        """The second half of the span that has gone on for longest; None where none is worth it.

        Halves can turn out to be empty. A request in four may be spent on those.
        """
        if self._finished or self._left or self._empty * 4 > self._pages:
            return None
        for span in sorted(self._spans, key=lambda each: -each.pages):
            skip = len(self._prefix)
            middle = half_way(span.first, span.last, span.end, skip, self._alphabet)
            if span.pages and middle is not None:
                half = Span(middle, span.end)
                span.end, span.pages = middle, 0
                return half
        return None

    def _put(self, item: Page | Exception | None) -> None:
        while not self._left:
            with contextlib.suppress(queue.Full):
                self._queue.put(item, timeout=0.5)
                return


def half_way(first: str, last: str, end: str | None, skip: int, alphabet: set[str]) -> str | None:
    """A string about half way between two names, after the first and before the second.

    The page of names shows where they differ. There a character further on is tried, of the same
    kind at first, so that after 0017 comes 0018 or 0019; then further to the left.

    Args:
        first, last: names of the page that was found last.
        end: where the range ends; None for the end of all names.
        skip: how many characters all names have in common.
        alphabet: the characters that names were found to have.

    Returns:
        None where the alphabet has nothing in between.
    """
    pairs = enumerate(zip(first, last, strict=False))
    alike = next((place for place, (a, b) in pairs if a != b), len(first))
    for same_kind in (True, False):
        for place in range(min(alike, len(last) - 1), skip - 1, -1):
            here = last[place]
            bound = end[place : place + 1] if end and end[:place] == last[:place] else None
            between = sorted(
                each
                for each in alphabet
                if each > here
                and (bound is None or each < bound)
                and each.isalnum()
                and (not same_kind or _kind(each) == _kind(here))
            )
            if between:
                return last[:place] + between[len(between) // 2]
    return None


def _kind(character: str) -> tuple[bool, bool]:
    return character.isdigit(), character.islower()
