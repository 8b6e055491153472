"""List the objects of a bucket: page by page, and large listings in parallel ranges of names.

A bucket lists a range of names in order, a thousand per page. Once a listing turns out to be large,
each idle thread cuts the longest unfinished range in two, half way by the characters that occur in
the names. This balances the work whether the names are in many folders or in one.
"""

from __future__ import annotations

import contextlib
import itertools
import queue
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

from encoder.storage.base import GCS_PREFIX
from encoder.storage.gcs.client import Bucket, gcs_client, retrying, timeouts, translated_errors

THREADS = 16
FIELDS = "items(name,generation,crc32c,size,updated),nextPageToken"
_PAGES_ALONE = 4  # a listing with more pages counts as large
_PAGES_WAITING = 32  # pages held in memory


class Listed(NamedTuple):
    """One object of a listing: its name, generation and size in bytes."""

    name: str
    generation: str
    size: int


Page = list[Listed]


class Span:
    """A range of names [start, end); `end` may be moved forward while the range is listed."""

    def __init__(self, start: str | None = None, end: str | None = None) -> None:
        self.start = start
        self.end = end
        self.first = self.last = ""  # names on the latest page
        self.pages = 0  # listed since the start, or since the last cut


def pages_in(
    bucket: Bucket,
    prefix: str,
    deep: bool = True,
    start: str | None = None,
    end: str | None = None,
    most: int | None = None,
) -> Iterator[tuple[Page, bool]]:
    """The pages of a range of names [start, end), each with whether more follow.

    Args:
        bucket, prefix, deep: see Lister.
        start, end: None for the beginning and the end of all names.
        most: names on a page; None for as many as the bucket gives.

    Raises:
        OSError: the listing failed, so the pages so far are incomplete.
    """
    with translated_errors(f"{GCS_PREFIX}{bucket.name}"):
        found = gcs_client().list_blobs(
            bucket,
            prefix=prefix or None,
            delimiter=None if deep else "/",
            start_offset=start,
            end_offset=end,
            page_size=most,
            fields=FIELDS,
            projection="noAcl",
            timeout=timeouts(),
            retry=retrying(),
        )
        for blobs in found.pages:
            page = [Listed(b.name, str(b.generation), int(b.size)) for b in blobs]
            yield page, found.next_page_token is not None


class Lister:
    """Lists one bucket.

    Args:
        bucket: the bucket; its user_project is billed.
        prefix: list only names that begin with it.
        deep: whether to list names with further slashes after the prefix.
    """

    def __init__(self, bucket: Bucket, prefix: str, deep: bool = True) -> None:
        self._bucket = bucket
        self._prefix = prefix
        self._deep = deep
        self._lock = threading.Condition()
        self._spans: list[Span] = []  # in progress
        self._alphabet: set[str] = set()
        self._pages = self._empty = 0
        self._queue: queue.Queue[Page | Exception | None] = queue.Queue(_PAGES_WAITING)
        self._finished = False  # every span is listed
        self._left = False  # the caller has stopped reading

    def list(self) -> Iterator[Page]:
        """All pages; in the order of names if the listing is small.

        Raises:
            OSError: the listing failed, so the pages so far are incomplete.
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
        found = pages_in(self._bucket, self._prefix, self._deep, span.start, span.end)
        for page, more in found:
            with self._lock:
                more, page = self._take(span, page, more)
            yield page
            if not more:
                return

    def _take(self, span: Span, page: Page, more: bool) -> tuple[bool, Page]:
        """Update the counts; return whether the span goes on, and the page's part inside it."""
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
        except Exception as error:  # list() raises it in the caller's thread
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
        """Cut off the second half of the span with the most pages; None if no cut is worthwhile.

        Halves may be empty. When more than a quarter of all pages were empty, cutting stops.
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
    """A string about half way between the last listed name and the end of the range.

    At the first place where the names of the latest page differ, or else to its left, put a later
    character: preferably of the same kind (digit, lower case, other), as in 0018 after 0017.

    Args:
        first, last: first and last name on the latest page.
        end: where the range ends; None for the end of all names.
        skip: length of the prefix that all names share.
        alphabet: the characters that occur in the names.

    Returns:
        The string; None if the alphabet has no character in between.
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
