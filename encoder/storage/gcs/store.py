"""The store for objects in Google Cloud Storage.

Every request is safe to repeat: a read returns one generation, a write replaces the whole object,
and a precondition protects objects that must not be replaced.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator
from datetime import datetime
from typing import BinaryIO, cast

import google_crc32c

from encoder.errors import ChangedError
from encoder.storage.base import GCS_PREFIX, FileInfo, Page
from encoder.storage.gcs.client import (
    Blob,
    bucket_of,
    gcs_client,
    retrying,
    timeouts,
    translated_errors,
)
from encoder.storage.gcs.listing import FIELDS, Lister, pages_in
from encoder.storage.gcs.reading import open_object, read_object


class GcsStore:
    """Objects in Google Cloud Storage, accessed with the client of this process."""

    def stat(self, path: str) -> FileInfo | None:
        blob = _blob(path)
        return None if blob is None else FileInfo(path, str(blob.generation), int(blob.size))

    def modified(self, path: str) -> datetime | None:
        blob = _blob(path)
        return None if blob is None else cast(datetime, blob.updated)

    def is_folder(self, path: str) -> bool:
        bucket, name = bucket_of(path)
        prefix = f"{name.rstrip('/')}/" if name else None
        with translated_errors(f"{GCS_PREFIX}{bucket.name}"):
            found = gcs_client().list_blobs(
                bucket,
                prefix=prefix,
                max_results=1,
                fields=FIELDS,
                timeout=timeouts(),
                retry=retrying(),
            )
            return next(iter(found), None) is not None

    def list_files(self, folder: str, start: str = "", deep: bool = True) -> Iterator[FileInfo]:
        bucket, name = bucket_of(folder)
        prefix = f"{name.rstrip('/')}/{start}" if name else start
        for page in Lister(bucket, prefix, deep).list():
            for each in page:
                if not each.name.endswith("/"):  # some tools create these for folders
                    path = f"{GCS_PREFIX}{bucket.name}/{each.name}"
                    yield FileInfo(path, each.generation, each.size)

    def is_ordered(self, path: str) -> bool:
        return True

    def pages(
        self,
        prefix: str,
        deep: bool = True,
        start: str = "",
        end: str | None = None,
        most: int | None = None,
    ) -> Iterator[Page]:
        bucket, name = bucket_of(prefix)
        root = f"{GCS_PREFIX}{bucket.name}/"
        first, last = start.removeprefix(root) or None, end.removeprefix(root) if end else None
        for page, more in pages_in(bucket, name, deep, first, last, most):
            yield Page([FileInfo(root + each.name, *each[1:]) for each in page], more)

    def read(
        self, path: str, version: str | None = None, most: int | None = None
    ) -> tuple[bytes, FileInfo]:
        return read_object(path, version, most)

    def open(self, path: str, version: str | None = None) -> BinaryIO:
        return open_object(path, version)

    def write(self, path: str, data: bytes) -> None:
        _upload(path, data)

    def create(self, path: str, data: bytes) -> bool:
        try:
            self.write_if(path, data, None)
        except ChangedError:
            return False
        return True

    def write_if(self, path: str, data: bytes, expected: str | None) -> None:
        try:
            _upload(path, data, int(expected or 0))
        except ChangedError:
            # An earlier attempt may have written the object while its response was lost.
            if not _holds(path, data):
                raise

    def move(self, path: str, target: str) -> None:
        try:
            _copy(path, target)
        except FileNotFoundError:
            if _blob(path) is not None:  # the server cannot copy, as some emulators
                self.write(target, self.read(path)[0])
            elif _blob(target) is None:
                raise
        self.delete(path)

    def delete(self, path: str) -> None:
        bucket, name = bucket_of(path)
        try:
            with translated_errors(path):
                bucket.blob(name).delete(timeout=timeouts(), retry=retrying())
        except FileNotFoundError:
            return


def _blob(path: str) -> Blob | None:
    """An object's metadata; None if the object does not exist."""
    bucket, name = bucket_of(path)
    if not name:
        return None
    with translated_errors(path):
        return bucket.get_blob(name, timeout=timeouts(), retry=retrying())


def _copy(path: str, target: str) -> None:
    """Copy an object inside its bucket, on the server."""
    bucket, name = bucket_of(path)
    copy = bucket_of(target)[0].blob(bucket_of(target)[1])
    token = None
    with translated_errors(path):
        while True:
            token, _, _ = copy.rewrite(
                bucket.blob(name), token=token, timeout=timeouts(), retry=retrying()
            )
            if token is None:
                return


def _upload(path: str, data: bytes, generation: int | None = None) -> None:
    """Write an object; with a generation, replace only that one (0: the object must be new)."""
    bucket, name = bucket_of(path)
    with translated_errors(path):
        bucket.blob(name).upload_from_string(
            data,
            content_type="application/octet-stream",
            if_generation_match=generation,
            checksum="crc32c",
            timeout=timeouts(upload=True),
            retry=retrying(),
        )


def _holds(path: str, data: bytes) -> bool:
    blob = _blob(path)
    crc32c = base64.b64encode(google_crc32c.value(data).to_bytes(4, "big")).decode()
    return blob is not None and (blob.size, blob.crc32c) == (len(data), crc32c)
