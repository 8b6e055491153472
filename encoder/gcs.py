"""Objects in Google Cloud Storage. The only module that knows how ``gs://`` is spoken to."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from datetime import datetime
from typing import Any, BinaryIO, cast

from encoder.errors import ChangedError, InputError
from encoder.storage import GCS_PREFIX, FileInfo, check_size

_POOLED_CONNECTIONS = 64
_TIMEOUT_SECONDS = 60.0
_CHUNK_BYTES = 8 << 20  # of a file that is read in order, per request


class GcsStore:
    """Objects in Google Cloud Storage, through one pooled client per process."""

    def stat(self, path: str) -> FileInfo | None:
        bucket, name = split_gcs(path)
        if not name:
            return None
        blob = gcs_client().bucket(bucket).get_blob(name, timeout=_TIMEOUT_SECONDS)
        return None if blob is None else _blob_info(path, blob)

    def modified(self, path: str) -> datetime | None:
        bucket, name = split_gcs(path)
        blob = gcs_client().bucket(bucket).get_blob(name, timeout=_TIMEOUT_SECONDS)
        return None if blob is None else cast(datetime, blob.updated)

    def is_folder(self, path: str) -> bool:
        return next(self.list_files(path), None) is not None

    def list_files(self, folder: str) -> Iterator[FileInfo]:
        bucket, name = split_gcs(folder)
        blobs = gcs_client().list_blobs(
            bucket,
            prefix=name.rstrip("/") + "/" if name else None,
            fields="items(name,generation,size),nextPageToken",
            timeout=_TIMEOUT_SECONDS,
        )
        for blob in blobs:
            if not blob.name.endswith("/"):  # a placeholder that some tools make for a folder
                yield _blob_info(f"{GCS_PREFIX}{bucket}/{blob.name}", blob)

    def read(
        self, path: str, version: str | None = None, most: int | None = None
    ) -> tuple[bytes, FileInfo]:
        bucket, name = split_gcs(path)
        blob = gcs_client().bucket(bucket).get_blob(name, timeout=_TIMEOUT_SECONDS)
        if blob is None:
            raise FileNotFoundError(f"{path} does not exist")
        check_size(int(blob.size), most)
        pinned = gcs_client().bucket(bucket).blob(name, generation=blob.generation)
        return pinned.download_as_bytes(timeout=_TIMEOUT_SECONDS), _blob_info(path, blob)

    def open(self, path: str, version: str | None = None) -> BinaryIO:
        bucket, name = split_gcs(path)
        generation = int(version) if version else None
        blob = gcs_client().bucket(bucket).blob(name, generation=generation)
        return cast(BinaryIO, blob.open("rb", chunk_size=_CHUNK_BYTES, timeout=_TIMEOUT_SECONDS))

    def write(self, path: str, data: bytes) -> None:
        from google.cloud.storage.retry import DEFAULT_RETRY

        bucket, name = split_gcs(path)
        # Writing the same bytes once more does no harm, so any failed attempt may be repeated.
        gcs_client().bucket(bucket).blob(name).upload_from_string(
            data,
            content_type="application/octet-stream",
            timeout=_TIMEOUT_SECONDS,
            retry=DEFAULT_RETRY,
        )

    def create(self, path: str, data: bytes) -> bool:
        try:
            self.write_if(path, data, None)
        except ChangedError:
            return False
        return True

    def write_if(self, path: str, data: bytes, expected: str | None) -> None:
        from google.api_core.exceptions import PreconditionFailed

        bucket, name = split_gcs(path)
        try:
            gcs_client().bucket(bucket).blob(name).upload_from_string(
                data,
                content_type="application/json",
                if_generation_match=int(expected) if expected else 0,
                timeout=_TIMEOUT_SECONDS,
            )
        except PreconditionFailed as error:
            # A retry after a lost answer meets its own first attempt.
            if self.stat(path) is not None and self.read(path)[0] == data:
                return
            raise ChangedError(f"{path} was written by somebody else") from error

    def delete(self, path: str) -> None:
        from google.api_core.exceptions import NotFound

        bucket, name = split_gcs(path)
        try:
            gcs_client().bucket(bucket).blob(name).delete(timeout=_TIMEOUT_SECONDS)
        except NotFound:
            return


@functools.cache
def gcs_client() -> Any:
    """This process' client, with enough pooled connections for its reading threads."""
    from google.auth.exceptions import DefaultCredentialsError
    from google.cloud import storage
    from requests.adapters import HTTPAdapter

    try:
        client = storage.Client()
    except DefaultCredentialsError as error:
        raise InputError(f"gs:// needs credentials for Google Cloud: {error}") from error
    adapter = HTTPAdapter(pool_connections=_POOLED_CONNECTIONS, pool_maxsize=_POOLED_CONNECTIONS)
    client._http.mount("https://", adapter)
    client._http.mount("http://", adapter)
    return client


def split_gcs(path: str) -> tuple[str, str]:
    """``gs://bucket/a/b`` as ``("bucket", "a/b")``."""
    bucket, _, name = path.removeprefix(GCS_PREFIX).partition("/")
    return bucket, name


def _blob_info(path: str, blob: Any) -> FileInfo:
    return FileInfo(path, str(blob.generation), int(blob.size))
