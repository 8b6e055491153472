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
from botocore.config import Config
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    NoCredentialsError,
    PartialCredentialsError,
)

from encoder.errors import ChangedError
from encoder.storage import FileInfo, check_size
from pipeline.other_stores import InputStore, Ranges, buffered

_PREFIX = "s3://"
_POOLED_CONNECTIONS = 64
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

    def list_files(self, folder: str) -> Iterator[FileInfo]:
        bucket, name = _split(folder)
        prefix = f"{name.rstrip('/')}/" if name else ""
        with _told(folder):
            pages = _client().get_paginator("list_objects_v2")
            for page in pages.paginate(Bucket=bucket, Prefix=prefix):
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

        return buffered(Ranges(info.bytes, fetch))

    def _head(self, path: str) -> dict[str, Any] | None:
        bucket, name = _split(path)
        if not name:
            return None
        try:
            with _told(path):
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
    with _told(path):
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
    return client_for(FileSystems._pipeline_options or _no_options())


@functools.cache
def client_for(options: PipelineOptions) -> Any:
    """This process' client under these options."""
    s3 = options.view_as(S3Options)
    return boto3.session.Session().client(
        "s3",
        region_name=s3.s3_region_name,
        api_version=s3.s3_api_version,
        use_ssl=not s3.s3_disable_ssl,
        verify=s3.s3_verify,
        endpoint_url=s3.s3_endpoint_url,
        aws_access_key_id=s3.s3_access_key_id,
        aws_secret_access_key=s3.s3_secret_access_key,
        aws_session_token=s3.s3_session_token,
        config=Config(max_pool_connections=_POOLED_CONNECTIONS),
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
def _told(path: str) -> Iterator[None]:
    """Whatever boto3 raises becomes an OSError that names the path, or a ChangedError."""
    try:
        yield
    except ClientError as error:
        code = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode")
        if code == 412:
            raise ChangedError(f"{path} has changed since it was listed") from error
        kind = {403: PermissionError, 404: FileNotFoundError}.get(code, OSError)
        raise kind(f"{path}: {error}") from error
    except (NoCredentialsError, PartialCredentialsError) as error:
        raise PermissionError(f"{path}: no credentials for AWS ({error})") from error
    except BotoCoreError as error:
        raise OSError(f"{path}: {error}") from error
