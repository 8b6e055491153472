"""Read objects of Google Cloud Storage, whole (with checksum) or in ranges."""

from __future__ import annotations

import base64
import gzip
import io
import re
import zlib
from typing import BinaryIO, NamedTuple, cast

import google_crc32c
import requests
from google.api_core import exceptions as api

from encoder.errors import ChangedError
from encoder.storage.base import FileInfo, check_size
from encoder.storage.gcs.client import (
    NO_BUCKET,
    DamagedTransferError,
    bucket_of,
    gcs_client,
    receive,
    retrying,
    timeouts,
    translated_errors,
)
from encoder.storage.ranged_file import opened_in_ranges

WHOLE_BYTES = 8 << 20  # open_object reads an object of up to this size at once
_CRC32C = re.compile(r"crc32c=([^, ]+)")


class _Response(NamedTuple):
    """The headers of an object's response; the body is not read yet."""

    response: requests.Response
    size: int
    generation: str
    crc32c: str
    zipped: bool

    def content(self) -> bytes:
        """Read the whole body, as it is stored.

        Raises:
            DamagedTransferError: the body does not match the store's checksum.
        """
        data = receive(self.response, decoded=not self.zipped)
        if self.crc32c and google_crc32c.value(data) != _number(self.crc32c):
            raise DamagedTransferError(f"{len(data):,} bytes came, with another CRC-32C")
        return data


def read_object(path: str, version: str | None, most: int | None) -> tuple[bytes, FileInfo]:
    """Implements Store.read, in one request."""

    def attempt() -> tuple[bytes, FileInfo]:
        found = _request(path, version)
        with found.response:
            check_size(found.size, most)
            data = _unzipped(path, found)
        return data, FileInfo(path, found.generation or _generation_of(path), found.size)

    with translated_errors(path):
        return cast(tuple[bytes, FileInfo], retrying()(attempt)())


def open_object(path: str, version: str | None) -> BinaryIO:
    """Implements Store.open. Small objects, and objects stored compressed, are read at once."""

    def attempt() -> BinaryIO:
        found = _request(path, version)
        with found.response:
            if found.zipped or found.size <= WHOLE_BYTES:
                return io.BytesIO(_unzipped(path, found))
        generation = found.generation or version
        return opened_in_ranges(found.size, lambda start, end: _range(path, generation, start, end))

    with translated_errors(path):
        return cast(BinaryIO, retrying()(attempt)())


def _range(path: str, generation: str | None, start: int, end: int) -> bytes:
    def attempt() -> bytes:
        found = _request(path, generation, f"bytes={start}-{end - 1}")
        data = receive(found.response, decoded=False)
        if len(data) != end - start:
            raise DamagedTransferError(f"{len(data):,} bytes came, not {end - start:,}")
        return data

    with translated_errors(path):
        return cast(bytes, retrying()(attempt)())


def _request(path: str, version: str | None, span: str = "") -> _Response:
    """Request an object's content; return before the body is read."""
    bucket, name = bucket_of(path)
    client = gcs_client()
    url = f"{client._connection.API_BASE_URL}/download/storage/v1{bucket.blob(name).path}"
    query = {"alt": "media", "generation": version, "userProject": bucket.user_project}
    response = client._http.request(
        "GET",
        url,
        params={key: value for key, value in query.items() if value},
        headers={"Accept-Encoding": "gzip", **({"Range": span} if span else {})},
        timeout=timeouts(),
        stream=True,
    )
    if not response.ok:
        response._content = receive(response)
        error = api.from_http_response(response)
        if version and isinstance(error, api.NotFound) and NO_BUCKET not in str(error.message):
            raise ChangedError(
                f"{path} is no longer as it was when it was listed (generation {version}): it was "
                "written or deleted meanwhile; the next run takes it as it is then"
            )
        raise error
    headers = response.headers
    crc32c = _CRC32C.search(headers.get("x-goog-hash", ""))
    return _Response(
        response,
        int(headers.get("x-goog-stored-content-length") or headers.get("Content-Length") or 0),
        headers.get("x-goog-generation") or version or "",
        crc32c[1] if crc32c else "",
        headers.get("Content-Encoding") == "gzip"
        and headers.get("x-goog-stored-content-encoding") != "identity",
    )


def _generation_of(path: str) -> str:
    """For stores whose responses lack the generation."""
    bucket, name = bucket_of(path)
    return str(bucket.get_blob(name, timeout=timeouts(), retry=retrying()).generation)


def _unzipped(path: str, found: _Response) -> bytes:
    """The content without the compression that it is stored with, as all clients return it."""
    data = found.content()
    if not found.zipped:
        return data
    try:
        return gzip.decompress(data)
    except (OSError, EOFError, zlib.error) as error:
        raise OSError(f"{path}: stored with Content-Encoding gzip, but is not: {error}") from error


def _number(crc32c: str) -> int:
    return int.from_bytes(base64.b64decode(crc32c), "big")
