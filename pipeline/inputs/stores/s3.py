"""Objects in S3 and in stores that speak its protocol. The only module that knows boto3.

Beam's S3FileSystem makes a client for each file (0.17 s), hides ETags, takes a bucket that does
not exist for an empty one, and tries for ten minutes without credentials. Its options
(``--s3_endpoint_url`` and so on) count here as they do there.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterator
from datetime import datetime
from typing import Any, BinaryIO, cast

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
from encoder.storage.base import FileInfo, check_size, settings
from encoder.storage.ranged_file import opened_in_ranges
from pipeline.inputs.stores.read_only import InputStore

_PREFIX = "s3://"
_POOLED_CONNECTIONS = 1024  # as many as --reads-in-flight may be
_BOTO_ATTEMPTS = 5  # at a request; each may take its share of the deadline
_SHORTEST, _LONGEST = 2.0, 60.0  # seconds to wait for a connection or an answer
_ATTEMPTS = 3  # at a body that breaks off; boto3 itself repeats only what gets no answer


class S3Store(InputStore):
    """Objects in S3, through one pooled client per process. Their version is the ETag."""

    def stat(self, path: str) -> FileInfo | None:
        head = self._head(path)
        return None if head is None else FileInfo(path, _version(head), head["ContentLength"])

    def modified(self, path: str) -> datetime | None:
        head = self._head(path)
        return None if head is None else cast(datetime, head["LastModified"])

    def is_folder(self, path: str) -> bool:
        return next(self.list_files(path), None) is not None

    def list_files(self, folder: str, start: str = "", deep: bool = True) -> Iterator[FileInfo]:
        bucket, name = _split(folder)
        prefix = f"{name.rstrip('/')}/{start}" if name else start
        more = {} if deep else {"Delimiter": "/"}
        with _translated_errors(folder):
            pages = _client().get_paginator("list_objects_v2")
            for page in pages.paginate(Bucket=bucket, Prefix=prefix, **more):
                for each in page.get("Contents", ()):
                    if not each["Key"].endswith("/"):  # a placeholder that some make for a folder
                        path = f"{_PREFIX}{bucket}/{each['Key']}"
                        yield FileInfo(path, _version(each), each["Size"])

    def read(
        self, path: str, version: str | None = None, most: int | None = None
    ) -> tuple[bytes, FileInfo]:
        data, answer = _get(path, version, most=most)
        return data, FileInfo(path, _version(answer), len(data))

    def open(self, path: str, version: str | None = None) -> BinaryIO:
        info = self.stat(path)
        if info is None:
            raise FileNotFoundError(f"{path} does not exist")
        _check(path, info.version, version)

        def fetch(start: int, end: int) -> bytes:
            return _get(path, info.version, Range=f"bytes={start}-{end - 1}")[0]

        return opened_in_ranges(info.bytes, fetch)

    def _head(self, path: str) -> dict[str, Any] | None:
        bucket, name = _split(path)
        if not name:
            return None
        try:
            with _translated_errors(path):
                return cast("dict[str, Any]", _client().head_object(Bucket=bucket, Key=name))
        except FileNotFoundError:
            return None


def _get(
    path: str, version: str | None, most: int | None = None, **more: str
) -> tuple[bytes, dict[str, Any]]:
    """The object's content in this version, and what else the answer says."""
    bucket, name = _split(path)
    if version:
        more["IfMatch"] = f'"{version}"'
    with _translated_errors(path):
        for attempt in range(1, _ATTEMPTS + 1):
            answer = _client().get_object(Bucket=bucket, Key=name, **more)
            with contextlib.closing(answer["Body"]) as body:
                _check(path, _version(answer), version)  # some stores know no If-Match
                check_size(answer["ContentLength"], most)
                try:
                    return body.read(), answer
                except BotoCoreError:
                    if attempt == _ATTEMPTS:
                        raise
    raise AssertionError("unreachable")


def _client() -> Any:
    # Beam sets these in the launcher and in its workers.
    options = FileSystems._pipeline_options or _no_options()
    return client_for(options, settings().deadline)


@functools.cache
def client_for(options: PipelineOptions, deadline: float) -> Any:
    """This process' client under these options; without credentials it sees what is public."""
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


def _version(answer: dict[str, Any]) -> str:
    return cast(str, answer["ETag"]).strip('"')


def _check(path: str, found: str, expected: str | None) -> None:
    if expected not in (None, found):
        raise ChangedError(f"{path} has changed since it was listed")


@contextlib.contextmanager
def _translated_errors(path: str) -> Iterator[None]:
    """Whatever boto3 raises becomes an OSError that names the path, or a ChangedError."""
    try:
        yield
    except ClientError as error:
        raise _of_answer(path, error) from error
    except (CredentialRetrievalError, PartialCredentialsError) as error:
        raise PermissionError(f"{path}: the credentials for AWS can't be used: {error}") from error
    except (ConnectionError, HTTPClientError) as error:
        raise TimeoutError(f"{path}: no answer, after several attempts: {error}") from error
    except BotoCoreError as error:
        raise OSError(f"{path}: {error}") from error


def _of_answer(path: str, error: ClientError) -> Exception:
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
