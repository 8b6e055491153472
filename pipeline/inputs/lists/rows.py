"""Rows of lists in blocks, and the images that they name: one worker reads, all look up."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

from encoder.storage.registry import is_remote
from pipeline.inputs.files import look_at
from pipeline.inputs.lists.registry import Entry
from pipeline.inputs.roots import Roots
from pipeline.inputs.stores.by_listing import Listings
from pipeline.inputs.stores.timeouts import ConsecutiveTimeouts, in_time
from pipeline.inputs.uris import readable, uri_of
from pipeline.records import Image

_LOOK_THREADS = 32
_HANGING = 3  # files on disk in a row that do not answer; each holds up the listing
_BLOCK_ROWS = 256  # few enough that a short list keeps several workers busy
_SORTED_ROWS = 65_536  # rows in memory, among which those of neighbouring names come together


class RowBlock(NamedTuple):
    """Some rows of a list.

    Attributes:
        source: the text of the input.
        list_path: the list's path.
        rows: each row's number among all lists of the input, and what it names.
    """

    source: str
    list_path: str
    rows: list[tuple[int, Entry]]


def uri_in(entry: Entry) -> str:
    """The uri of the image that a row names; without looking whether it exists."""
    return readable(entry.path) if entry.error else uri_of(entry.path)


def blocks_of(rows: Iterator[tuple[int, Entry]], source: str, list_path: str) -> Iterator[RowBlock]:
    """Put rows into blocks; those of buckets in the order of their names, as far as memory allows.

    Args:
        rows: with their numbers.
        source, list_path: see RowBlock.
    """
    while some := list(itertools.islice(rows, _SORTED_ROWS)):
        remote = sorted((row for row in some if _is_in_bucket(row)), key=_path_of)
        local = [row for row in some if not _is_in_bucket(row)]
        for each in (local, remote):
            for start in range(0, len(each), _BLOCK_ROWS):
                yield RowBlock(source, list_path, each[start : start + _BLOCK_ROWS])


def _is_in_bucket(row: tuple[int, Entry]) -> bool:
    return is_remote(row[1].path)


def _path_of(row: tuple[int, Entry]) -> str:
    return row[1].path


class RowLooker:
    """Finds the images that rows name. Remembers what does not answer from block to block.

    Args:
        roots: what lists may reach.
        seconds: that may pass, on disk, until the next file is looked at.
    """

    def __init__(self, roots: Roots, seconds: float) -> None:
        self._roots = roots
        self._seconds = seconds
        self._remote = ConsecutiveTimeouts(2 * _LOOK_THREADS)
        self._local = ConsecutiveTimeouts(_HANGING)
        self._listings = Listings()

    def images(self, block: RowBlock) -> Iterator[Image]:
        """The image of each row; with an error if there is none, or if it may not be reached.

        Raises:
            JobError: too many files in a row did not answer in time.
        """
        for remote, group in itertools.groupby(block.rows, _is_in_bucket):
            rows = list(group)
            entries = [entry for _, entry in rows]
            look = self._in_bucket(entries, block) if remote else self._on_disk(entries, block)
            for (number, entry), image in zip(rows, look, strict=True):
                yield image._replace(source=block.source, carried=entry.carried, row=number)

    def _in_bucket(self, entries: list[Entry], block: RowBlock) -> Iterator[Image]:
        refused = {entry.path for entry in entries if self._refusal(entry, block)}
        listed = self._listings.states_of(
            entry.path for entry in entries if entry.path not in refused
        )

        def look(entry: Entry) -> Image:
            if entry.path not in refused and (info := listed.get(entry.path)):
                return Image(uri_of(info.path), info.version, info.bytes)
            try:
                image = self._image_of(entry, block)
            except TimeoutError as error:
                self._remote.record(error)
                return Image(uri_of(entry.path), "", 0, error=str(error))
            self._remote.record()
            return image

        if all(entry.path in listed for entry in entries):
            yield from map(look, entries)
            return
        # Each of the others is a request.
        with ThreadPoolExecutor(_LOOK_THREADS, thread_name_prefix="look-at") as pool:
            yield from pool.map(look, entries)

    def _on_disk(self, entries: list[Entry], block: RowBlock) -> Iterator[Image]:
        """The images in order; a failure for one that does not answer in time."""
        look: Callable[[Entry], Image] = functools.partial(self._image_of, block=block)
        done = 0
        while done < len(entries):
            before = done
            try:
                for image in in_time(map(look, entries[done:]), self._seconds, "looking at files"):
                    done += 1
                    yield image
            except TimeoutError as error:
                if done > before:
                    self._local.record()
                self._local.record(error)
                problem = (
                    f"the file system gave no answer within {self._seconds:g} s (--read-timeout)"
                )
                yield Image(uri_of(entries[done].path), "", 0, error=problem)
                done += 1
            else:
                self._local.record()

    def _refusal(self, entry: Entry, block: RowBlock) -> str | None:
        """Why a row names nothing that may be reached."""
        return entry.error or self._roots.refusal_of_listed(entry.path, block.list_path)

    def _image_of(self, entry: Entry, block: RowBlock) -> Image:
        if refusal := self._refusal(entry, block):
            return Image(uri_in(entry), "", 0, error=refusal)
        (image,) = look_at(entry.path, block.source, expected=True)
        return image
