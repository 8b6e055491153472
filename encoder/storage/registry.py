"""Find the store of a path, and normalize paths."""

from __future__ import annotations

import contextlib
import os
import re
import urllib.parse
from collections.abc import Callable, Iterator

from encoder.errors import InputError
from encoder.storage.base import GCS_PREFIX, OrderedStore, Store, configure, settings

_CHECK_SECONDS = 4.0  # for requests while the user waits at the terminal
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://")
_FILE = re.compile(r"file:(?://(?P<host>[^/]*))?(?=/|$)", re.I)
_read_only: set[str] = set()


def local_store() -> Store:
    """The store for files on this machine."""
    from encoder.storage.local import LocalStore

    return LocalStore()


def gcs_store() -> Store:
    """The store for objects in Google Cloud Storage."""
    from encoder.storage.gcs.store import GcsStore

    return GcsStore()


_stores: dict[str, Callable[[], Store]] = {GCS_PREFIX: gcs_store}


def add_store(prefix: str, factory: Callable[[], Store], writable: bool = True) -> None:
    """Register a store for all paths that begin with a prefix.

    Args:
        prefix: such as "s3://".
        factory: returns the store; called for each access.
        writable: whether datasets and bundles may be written to the store.
    """
    _stores[prefix] = factory
    if writable:
        _read_only.discard(prefix)
    else:
        _read_only.add(prefix)


def is_writable(path: str) -> bool:
    """Whether files can be written to the store of this path."""
    return _prefix(path) not in _read_only


def read_only_error(path: str) -> InputError:
    """The error for an attempt to write to a read-only store."""
    return InputError(
        f"{path!r}: {_prefix(path)} is for input only; expected a local path or gs://"
    )


def store_for(path: str) -> Store:
    """The store of a path."""
    return _stores.get(_prefix(path), local_store)()


def ordered_store_for(path: str) -> OrderedStore | None:
    """The store of a path if it can list from any name on; else None."""
    store = store_for(path)
    return store if isinstance(store, OrderedStore) and store.is_ordered(path) else None


def check_reachable(path: str) -> None:
    """Check within seconds that a path in a bucket is accessible; it need not exist.

    Raises:
        OSError: the path is not accessible; the message gives the cause.
    """
    if not is_remote(path):
        return
    with short_deadline():
        store = store_for(path)
        if store.stat(path) is None:
            store.is_folder(path)


@contextlib.contextmanager
def short_deadline() -> Iterator[None]:
    """Within it, requests that keep failing are given up after seconds, not minutes."""
    before = settings()
    configure(before._replace(deadline=min(before.deadline, _CHECK_SECONDS)))
    try:
        yield
    finally:
        configure(before)


def is_remote(path: str) -> bool:
    """Whether the path is in a store that all worker machines share."""
    return _prefix(path) in _stores


def _prefix(path: str) -> str:
    """The path's scheme, such as "gs://"; "" if it has none."""
    return path[: path.find("://") + 3] if not path.startswith("/") and "://" in path else ""


def scheme_of(text: str) -> str | None:
    """The scheme of a known store at the beginning of an address, such as "gs://"; else None."""
    found = _SCHEME.match(text)
    prefix = found[0].lower() if found else ""
    return prefix if prefix in _stores else None


def normalize(path: str | os.PathLike[str]) -> str:
    """The path in this project's form: absolute, without a trailing slash.

    All forms that the file system takes as the same give one path: ``//a``, ``/./a``, ``/x/../a``,
    ``file:/a``, ``file://localhost/a``. Names in a bucket stay as they are, since all of these are
    different objects there.

    Raises:
        InputError: the scheme is unknown, the address names no bucket, or there is a null byte.
    """
    text = os.fspath(path)
    if _FILE.match(text):
        return _absolute(path_of_file_uri(text))
    scheme = _SCHEME.match(text)
    if scheme is None:
        if "\0" in text:
            raise InputError(f"{text!r} has a null byte, which no path has")
        return _absolute(os.path.expanduser(text))
    prefix = scheme[0].lower()
    if prefix not in _stores:
        known = ", ".join(sorted(_stores))
        raise InputError(f"{text!r}: unknown scheme {scheme[0]}; expected a local path or {known}")
    place = text[len(prefix) :]
    if not place.partition("/")[0]:
        raise InputError(f"{text!r} names no bucket; expected {prefix}BUCKET/PATH")
    return prefix + place.rstrip("/")


def resolve(path: str, folder: str) -> str:
    """A path in this project's form, relative to a folder; in a bucket ``.`` and ``..`` count, too.

    Args:
        path: relative or absolute, or an address.
        folder: a path from normalize.

    Raises:
        InputError: see normalize.
    """
    if _FILE.match(path) or _SCHEME.match(path):
        return normalize(path)
    if path.startswith("/") or not is_remote(folder):
        return _absolute(os.path.join(folder, path))
    prefix = _prefix(folder)
    bucket, *parts = folder.removeprefix(prefix).split("/")
    for part in path.rstrip("/").split("/"):
        if part == "..":
            parts = parts[:-1]
        elif part != ".":
            parts.append(part)
    return prefix + "/".join([bucket, *parts])


def path_of_file_uri(uri: str) -> str:
    """The local path of a file: uri; bytes that are not UTF-8 are decoded as by os.fsdecode.

    Raises:
        InputError: the uri names another machine, or has characters that no path has.
    """
    found = _FILE.match(uri)
    if found is None or (found["host"] or "localhost").lower() != "localhost":
        raise InputError(f"{uri!r} is on another machine; expected file:///PATH")
    path = "/" + uri[found.end() :].lstrip("/")
    try:
        return os.fsdecode(urllib.parse.unquote_to_bytes(os.fsencode(path)))
    except UnicodeEncodeError as error:
        raise InputError(f"{uri!r} is no path: {error}; expected file:///PATH") from error


def _absolute(path: str) -> str:
    """The absolute path, with ``..`` resolved as the file system does: behind a link, too."""
    parts: list[str] = []
    for part in os.path.join(os.getcwd(), path).split("/"):
        if part == "..":
            place = "/" + "/".join(parts)
            if os.path.islink(place):  # its target's parent, not the folder that holds the link
                parts = os.path.realpath(place).strip("/").split("/")
            parts = parts[:-1]
        elif part not in ("", "."):
            parts.append(part)
    return "/" + "/".join(parts)
