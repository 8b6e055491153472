"""The client for Google Cloud Storage: one per process, with retries and translated errors.

A failing request is repeated, after pauses that double, until it succeeds or the deadline passes.
An attempt fails if no byte arrives for some seconds, or if a body arrives too slowly.
"""

from __future__ import annotations

import contextlib
import functools
import logging
import os
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, TypeAlias

import google.auth
import requests
import urllib3
from google.api_core import exceptions as api
from google.auth.credentials import AnonymousCredentials
from google.auth.exceptions import DefaultCredentialsError, GoogleAuthError
from google.auth.transport.requests import AuthorizedSession
from google.cloud import storage
from google.cloud.storage.exceptions import InvalidResponse
from google.cloud.storage.retry import DEFAULT_RETRY
from requests.adapters import HTTPAdapter

from encoder.errors import ChangedError
from encoder.storage.base import GCS_PREFIX, settings
from encoder.storage.retries import count_retries

if TYPE_CHECKING:
    from google.api_core.retry import Retry
    from google.auth.credentials import Credentials

# The other modules take the library's classes from here.
Bucket: TypeAlias = storage.Bucket
Blob: TypeAlias = storage.Blob

_CONNECT_SECONDS = 10.0
_SILENCE_SECONDS = 15.0  # without a byte of the response
_UPLOAD_SECONDS = 60.0  # the same after an upload: the store saves the object first
_SCOPE = "https://www.googleapis.com/auth/devstorage.read_write"
# Idle connections to keep. More than there are reads in flight, so that each is reused.
_POOLED_CONNECTIONS = 1024
_PIECE = 1 << 20
NO_BUCKET = "specified bucket does not exist"  # in the store's message
# A body may take this long, plus its size divided by the least rate.
_BODY_SECONDS = 15.0
_BYTES_PER_SECOND = 100_000


class DamagedTransferError(ConnectionError):
    """Received bytes differ from those the store sent; another attempt may succeed."""


class _Session(AuthorizedSession):  # type: ignore[misc]
    """Aborts responses that arrive too slowly; requests would wait without end."""

    def request(
        self, method: str, url: str, *args: object, stream: bool = False, **options: object
    ) -> requests.Response:
        response: requests.Response = super().request(method, url, *args, stream=True, **options)
        if not stream:
            response._content = receive(response)
            response._content_consumed = True
        return response


def receive(response: requests.Response, decoded: bool = True) -> bytes:
    """Read the whole body of a response.

    Args:
        response: of a request with stream=True.
        decoded: whether to undo its Content-Encoding.

    Raises:
        ConnectionError, urllib3.exceptions.HTTPError: the body is incomplete or too slow.
    """
    length = int(response.headers.get("Content-Length") or 0)
    seconds = _BODY_SECONDS + length / _BYTES_PER_SECOND
    end = time.monotonic() + seconds
    pieces: list[bytes] = []
    with response:
        while piece := response.raw.read1(_PIECE, decode_content=decoded):
            pieces.append(piece)
            if time.monotonic() > end:
                got = sum(map(len, pieces))
                raise ConnectionError(f"only {got:,} of {length:,} bytes came in {seconds:.0f} s")
    return b"".join(pieces)


@functools.cache
def gcs_client() -> storage.Client:
    """The client of this process. Without credentials it can read public objects only."""
    credentials = _credentials()
    anonymous = isinstance(credentials, AnonymousCredentials)  # these can't be refreshed
    session = _Session(credentials, **{"refresh_status_codes": ()} if anonymous else {})
    for scheme in ("https://", "http://"):
        pool = HTTPAdapter(pool_connections=4, pool_maxsize=_POOLED_CONNECTIONS)
        session.mount(scheme, pool)
    return storage.Client(project=None, credentials=credentials, _http=session)


def _credentials() -> Credentials:
    if os.environ.get("STORAGE_EMULATOR_HOST"):
        return AnonymousCredentials()
    # Look for a metadata server once, not three times: without one, each try takes seconds.
    os.environ.setdefault("GCE_METADATA_DETECT_RETRIES", "1")
    os.environ.setdefault("GCE_METADATA_TIMEOUT", "2")
    try:
        # Done here, since the client itself would also search for a project.
        return google.auth.default(scopes=[_SCOPE])[0]
    except DefaultCredentialsError:
        return AnonymousCredentials()


def is_anonymous() -> bool:
    """Whether the client has no credentials."""
    return isinstance(gcs_client()._credentials, AnonymousCredentials)


def bucket_of(path: str) -> tuple[Bucket, str]:
    """Split ``gs://bucket/a/b`` into the bucket and ``"a/b"``."""
    bucket, _, name = path.removeprefix(GCS_PREFIX).partition("/")
    return gcs_client().bucket(bucket, user_project=settings().user_project or None), name


def retrying() -> Retry:
    """The retry policy of a request, within the deadline of this process' settings."""
    retry = DEFAULT_RETRY.with_delay(initial=0.25, maximum=16).with_timeout(settings().deadline)
    retry._on_error = _count
    return retry


def _count(error: Exception) -> None:
    count_retries()
    logging.getLogger(__name__).info("a request is repeated after: %s", _cause(error))


def timeouts(upload: bool = False) -> tuple[float, float]:
    """Time-outs of an attempt, in seconds: to connect, and between two bytes."""
    return _CONNECT_SECONDS, _UPLOAD_SECONDS if upload else _SILENCE_SECONDS


@contextlib.contextmanager
def translated_errors(path: str) -> Iterator[None]:
    """Translate the library's errors to those of local files, with the object in the message.

    Raises:
        FileNotFoundError, PermissionError, TimeoutError, OSError: in place of the library's errors.
        ChangedError: a precondition does not hold.
    """
    try:
        yield
    except (api.GoogleAPICallError, InvalidResponse) as error:
        raise _translated(path, error) from error
    except api.RetryError as error:
        raise TimeoutError(
            f"{path}: given up after {settings().deadline:g} s of attempts, the last of which "
            f"ended with: {_cause(error.cause or error)}"
        ) from error
    except GoogleAuthError as error:
        raise PermissionError(f"{path}: {_refused(error)}") from error
    except (requests.RequestException, urllib3.exceptions.HTTPError) as error:
        raise OSError(f"{path}: {_cause(error)}") from error


def _translated(path: str, error: api.GoogleAPICallError | InvalidResponse) -> Exception:
    code = int(error.response.status_code if isinstance(error, InvalidResponse) else error.code)
    text = _words(error)
    bucket = GCS_PREFIX + path.removeprefix(GCS_PREFIX).partition("/")[0]
    if code == requests.codes.not_found and (path == bucket or NO_BUCKET in text):
        return FileNotFoundError(f"{path}: there is no bucket {bucket}")
    if code == requests.codes.not_found:
        return FileNotFoundError(f"{path} does not exist")
    if code == requests.codes.precondition_failed:
        return ChangedError(f"{path} was written by somebody else")
    if "requester pays" in text:
        return PermissionError(
            f"{path}: in {bucket} the requester pays; name your project by --user-project"
        )
    if code in (requests.codes.unauthorized, requests.codes.forbidden):
        return PermissionError(f"{path}: {_refused(error)}")
    return OSError(f"{path}: {text}")


def _refused(error: Exception) -> str:
    """A text for refused requests: the cause, and what the user can do."""
    if is_anonymous():
        return (
            "not public, and no credentials for Google Cloud were found; run 'gcloud auth "
            "application-default login', or let GOOGLE_APPLICATION_CREDENTIALS name a key file"
        )
    if isinstance(error, GoogleAuthError):
        return (
            f"the credentials for Google Cloud can't be used ({_words(error)}); run 'gcloud auth "
            "application-default login' again, or see GOOGLE_APPLICATION_CREDENTIALS"
        )
    return f"permission denied: {_words(error)}"


def _cause(error: BaseException) -> str:
    """The message of the innermost error; requests and urllib3 wrap errors in each other."""
    while isinstance(error, requests.ConnectionError | urllib3.exceptions.MaxRetryError):
        inner = getattr(error, "reason", None) or next(iter(error.args), None)
        if not isinstance(inner, BaseException):
            break
        error = inner
    return _words(error)


def _words(error: BaseException) -> str:
    message = getattr(error, "message", None) or error
    return " ".join(str(message).split())
