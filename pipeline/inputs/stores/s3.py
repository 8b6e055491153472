"""Objects in S3 and in stores with its protocol. The only module that uses boto3.

Beam's S3FileSystem creates a client for each file (0.17 s), hides ETags, treats a missing bucket as
empty, and retries for ten minutes without credentials. Beam's options (``--s3_endpoint_url`` and so
on) apply here, too.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterator
from datetime import datetime
from typing import TYPE_CHECKING, BinaryIO, TypedDict, cast

import boto3
from apache_beam.io.filesystems import FileSystems
from apache_beam.options.pipeline_options import PipelineOptions, S3Options
from botocore import UNSIGNED
from botocore.config import Config
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    ConnectionError,
    CredentialRetrievalError,
    HTTPClientError,
    PartialCredentialsError,
)

from encoder.errors import ChangedError
from encoder.storage.base import FileInfo, Page, check_size, join, settings
from encoder.storage.ranged_file import opened_in_ranges
from encoder.storage.retries import count_retries
from pipeline.inputs.stores.read_only import InputStore

if TYPE_CHECKING:
    from botocore.client import BaseClient
    from botocore.response import StreamingBody

_PREFIX = "s3://"
_POOLED_CONNECTIONS = 1024  # as many as --reads-in-flight may be
_BOTO_ATTEMPTS = 5  # attempts of a request; together they take at most the deadline
_SHORTEST, _LONGEST = 2.0, 60.0  # seconds to wait for a connection or a response
_ATTEMPTS = 3  # attempts to receive a body; boto3 repeats only requests without a response
_UNORDERED = "--x-s3"  # the end of the names of directory buckets
_LONGEST_NAME = 1024  # bytes
_LAST = "\U0010fffd"  # no other character that XML and all stores take comes after it


class _Head(TypedDict):
    """The fields of the response to HEAD that are used."""

    ETag: str
    ContentLength: int
    LastModified: datetime


class _Response(_Head):
    """The fields of the response to GET that are used."""

    Body: StreamingBody
    ResponseMetadata: dict[str, int]


class S3Store(InputStore):
    """Objects in S3, through one pooled client per process. An object's version is its ETag."""

    def stat(self, path: str) -> FileInfo | None:
        head = self._head(path)
        if head is None:
            return None
        return FileInfo(path, _version(head["ETag"]), head["ContentLength"])

    def modified(self, path: str) -> datetime | None:
        head = self._head(path)
        return None if head is None else head["LastModified"]

    def is_folder(self, path: str) -> bool:
        return next(self.list_files(path), None) is not None

    def list_files(self, folder: str, start: str = "", deep: bool = True) -> Iterator[FileInfo]:
        for page in self.pages(join(folder, start), deep):
            for info in page.files:
                if not info.path.endswith("/"):  # some tools create one for a folder
                    yield info

    def is_ordered(self, path: str) -> bool:
        return not _split(path)[0].endswith(_UNORDERED)

    def pages(
        self,
        prefix: str,
        deep: bool = True,
        start: str = "",
        end: str | None = None,
        most: int | None = None,
    ) -> Iterator[Page]:
        bucket, name = _split(prefix)
        root = f"{_PREFIX}{bucket}/"
        wanted = {} if deep else {"Delimiter": "/"}
        if start:
            wanted["StartAfter"] = _before(start.removeprefix(root))
        with _translated_errors(prefix.rstrip("/")):
            found = _client().get_paginator("list_objects_v2")
            size = {"PageSize": most} if most else {}
            for page in found.paginate(Bucket=bucket, Prefix=name, PaginationConfig=size, **wanted):
                files = [
                    FileInfo(root + each["Key"], _version(each["ETag"]), each["Size"])
                    for each in page.get("Contents", ())
                ]
                more = page["IsTruncated"] and not (end and files and files[-1].path >= end)
                yield Page(files, more)
                if not more:
                    return

    def read(
        self, path: str, version: str | None = None, most: int | None = None
    ) -> tuple[bytes, FileInfo]:
        data, found = _get(path, version, most=most)
        return data, FileInfo(path, found, len(data))

    def open(self, path: str, version: str | None = None) -> BinaryIO:
        info = self.stat(path)
        if info is None:
            raise FileNotFoundError(f"{path} does not exist")
        _check(path, info.version, version)

        def fetch(start: int, end: int) -> bytes:
            return _get(path, info.version, Range=f"bytes={start}-{end - 1}")[0]

        return opened_in_ranges(info.bytes, fetch)

    def _head(self, path: str) -> _Head | None:
        bucket, name = _split(path)
        if not name:
            return None
        try:
            with _translated_errors(path):
                return cast(_Head, _client().head_object(Bucket=bucket, Key=name))
        except FileNotFoundError:
            return None


def _get(
    path: str, version: str | None, most: int | None = None, **extra: str
) -> tuple[bytes, str]:
    """The object's content in this version (None: the current one), and the version.

    Args:
        path: the object's path.
        version: the version that the object must have; None for any.
        most: the largest accepted size in bytes; None for no limit.
        extra: further parameters of boto3's get_object.
    """
    bucket, name = _split(path)
    if version:
        extra["IfMatch"] = f'"{version}"'
    with _translated_errors(path):
        for attempt in range(1, _ATTEMPTS + 1):
            response: _Response = _client().get_object(Bucket=bucket, Key=name, **extra)
            count_retries(response["ResponseMetadata"].get("RetryAttempts", 0))
            with contextlib.closing(response["Body"]) as body:
                found = _version(response["ETag"])
                _check(path, found, version)  # some stores ignore If-Match
                check_size(response["ContentLength"], most)
                try:
                    return body.read(), found
                except BotoCoreError:
                    if attempt == _ATTEMPTS:
                        raise
                    count_retries()
    raise AssertionError("unreachable")


def _client() -> BaseClient:
    # Beam sets these in the launcher and in its workers.
    options = FileSystems._pipeline_options or _no_options()
    return client_for(options, settings().deadline)


@functools.cache
def client_for(options: PipelineOptions, deadline: float) -> BaseClient:
    """This process' client for these options. Without credentials it reads only public buckets.

    Args:
        options: Beam's options.
        deadline: seconds for a request with all its attempts.
    """
    s3 = options.view_as(S3Options)
    session = boto3.session.Session()
    known = s3.s3_access_key_id or session.get_credentials()
    seconds = min(max(deadline / _BOTO_ATTEMPTS, _SHORTEST), _LONGEST)
    return session.client(
        "s3",
        region_name=s3.s3_region_name,
        api_version=s3.s3_api_version,
        use_ssl=not s3.s3_disable_ssl,
        verify=s3.s3_verify,
        endpoint_url=s3.s3_endpoint_url,
        aws_access_key_id=s3.s3_access_key_id,
        aws_secret_access_key=s3.s3_secret_access_key,
        aws_session_token=s3.s3_session_token,
        config=Config(
            signature_version=None if known else UNSIGNED,
            max_pool_connections=_POOLED_CONNECTIONS,
            connect_timeout=seconds,
            read_timeout=seconds,
        ),
    )


@functools.cache
def _no_options() -> PipelineOptions:
    return PipelineOptions([])


def _split(path: str) -> tuple[str, str]:
    bucket, _, name = path.removeprefix(_PREFIX).partition("/")
    return bucket, name


def _before(name: str) -> str:
    """A name before this one, with few or no names between: S3 lists what comes after it."""
    code = ord(name[-1]) - 1
    if 0xD800 <= code <= 0xDFFF:  # surrogates are not in UTF-8
        code = 0xD7FF
    if code < 1:
        return name[:-1]
    longer = len(name.encode()) + len(_LAST.encode()) <= _LONGEST_NAME
    return name[:-1] + chr(code) + (_LAST if longer else "")


def _version(etag: str) -> str:
    return etag.strip('"')


def _check(path: str, found: str, expected: str | None) -> None:
    if expected not in (None, found):
        raise ChangedError(f"{path} has changed since it was listed")


@contextlib.contextmanager
def _translated_errors(path: str) -> Iterator[None]:
    """Turn all errors of boto3 into an OSError that names the path, or a ChangedError."""
    try:
        yield
    except ClientError as error:
        raise _error_of(path, error) from error
    except (CredentialRetrievalError, PartialCredentialsError) as error:
        raise PermissionError(f"{path}: the credentials for AWS can't be used: {error}") from error
    except (ConnectionError, HTTPClientError) as error:
        raise TimeoutError(f"{path}: no answer, after several attempts: {error}") from error
    except BotoCoreError as error:
        raise OSError(f"{path}: {error}") from error


def _error_of(path: str, error: ClientError) -> Exception:
    code = error.response.get("Error", {}).get("Code")
    status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode")
    if status == 412:
        return ChangedError(f"{path} has changed since it was listed")
    if code == "NoSuchBucket":
        return FileNotFoundError(f"{path}: there is no bucket {_PREFIX}{_split(path)[0]}")
    if status == 404:
        return FileNotFoundError(f"{path} does not exist")
    if status in (401, 403) and _client().meta.config.signature_version is UNSIGNED:
        return PermissionError(f"{path}: not public, and no credentials for AWS were found")
    return (PermissionError if status in (401, 403) else OSError)(f"{path}: {error}")
