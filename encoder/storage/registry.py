"""Which store a path belongs to, and how paths are written."""

from __future__ import annotations

import os
import re
import urllib.parse
from collections.abc import Callable

from encoder.errors import InputError
from encoder.storage.base import FILE_PREFIX, GCS_PREFIX, Store, configure, settings

_HURRY_SECONDS = 4.0  # for a request while somebody waits at the terminal
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://")
_read_only: set[str] = set()


def local_store() -> Store:
    """Files on this machine."""
    from encoder.storage.local import LocalStore

    return LocalStore()


def gcs_store() -> Store:
    """Objects in Google Cloud Storage."""
    from encoder.storage.gcs.store import GcsStore

    return GcsStore()


_stores: dict[str, Callable[[], Store]] = {GCS_PREFIX: gcs_store}


def add_store(prefix: str, factory: Callable[[], Store], writable: bool = True) -> None:
    """Register a store for all paths that begin with a prefix.

    Args:
        prefix: such as "s3://".
        factory: gives the store; called for each access.
        writable: whether datasets and bundles may be written there.
    """
    _stores[prefix] = factory
    if writable:
        _read_only.discard(prefix)
    else:
        _read_only.add(prefix)


def is_writable(path: str) -> bool:
    """Whether files can be written to the store that a path belongs to."""
    return _prefix(path) not in _read_only


def read_only_error(path: str) -> InputError:
    """The error for an attempt to write to a store that is only read from."""
    return InputError(
        f"{path!r}: {_prefix(path)} is for input only; expected a local path or gs://"
    )


def store_for(path: str) -> Store:
    """The store in which a path lies."""
    return _stores.get(_prefix(path), local_store)()


def check_reachable(path: str) -> None:
    """Find out within seconds whether a path in a bucket can be looked at; nothing needs be there.

    Raises:
        OSError: it can't; the message says why.
    """
    if not is_remote(path):
        return
    before = settings()
    configure(before._replace(deadline=min(before.deadline, _HURRY_SECONDS)))
    try:
        store = store_for(path)
        if store.stat(path) is None:
            store.is_folder(path)
    finally:
        configure(before)


def is_remote(path: str) -> bool:
    """Whether the path lies in a store that every worker machine can reach."""
    return _prefix(path) in _stores


def _prefix(path: str) -> str:
    """Such as gs://; "" where there is none."""
    return path[: path.find("://") + 3] if not path.startswith("/") and "://" in path else ""


def normalize(path: str | os.PathLike[str]) -> str:
    """The path as this project writes it: absolute, without a closing slash."""
    text = os.fspath(path)
    scheme = _SCHEME.match(text)
    if scheme is None:
        return os.path.abspath(os.path.expanduser(text))
    if scheme[0] == FILE_PREFIX:
        return os.path.abspath(path_of_file_uri(text))
    if scheme[0] not in _stores:
        known = ", ".join(sorted(_stores))
        raise InputError(f"{text!r}: unknown scheme {scheme[0]}; expected a local path or {known}")
    if not text.removeprefix(scheme[0]).partition("/")[0]:
        raise InputError(f"{text!r} names no bucket; expected {scheme[0]}BUCKET/PATH")
    return text.rstrip("/")


def path_of_file_uri(uri: str) -> str:
    """The local path that a file:// uri stands for; bytes that are not UTF-8 as os.fsdecode."""
    host, _, rest = uri.removeprefix(FILE_PREFIX).partition("/")
    if host not in ("", "localhost"):
        raise InputError(f"{uri!r} is on another machine; expected file:///PATH")
    return os.fsdecode(urllib.parse.unquote_to_bytes(f"/{rest}"))
