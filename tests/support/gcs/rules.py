"""A bucket after the documentation of GCS's JSON API: generations, preconditions, pages."""

from __future__ import annotations

import base64
import bisect
import hashlib
import itertools
import json
import re
import threading
import time
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import google_crc32c

PAGE = 1000
_TIME = "2026-01-02T03:04:05.678Z"
_ITEM_FIELDS = re.compile(r"items\(([^)]*)\)")


class Answer(NamedTuple):
    """A response that is still to be sent."""

    status: int
    body: bytes = b""
    headers: Mapping[str, str] = {}


class Stored(NamedTuple):
    """One generation of an object."""

    data: bytes
    generation: int
    crc32c: str
    encoding: str = ""


class RefusedError(Exception):
    """An error answer."""

    def __init__(self, status: int, message: str, reason: str = "") -> None:
        super().__init__(message)
        error = {"code": status, "message": message}
        error["errors"] = [{"reason": reason, "message": message}]
        self.answer = Answer(status, json.dumps({"error": error}).encode())


def crc32c_of(data: bytes) -> str:
    return base64.b64encode(google_crc32c.value(data).to_bytes(4, "big")).decode()


class Bucket:
    """Objects by name, in the order of their names.

    Attributes:
        private: the token that clients must send, or "" for none.
        requester_pays: whether clients must name a project.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.private = ""
        self.read_only = self.requester_pays = False
        self._lock = threading.RLock()
        self._objects: dict[str, Stored] = {}
        self._names: list[str] = []
        self._uploads: dict[str, tuple[dict[str, str], dict[str, Any], bytearray]] = {}
        self._numbers = itertools.count(int(time.time() * 1e6))

    def put(self, name: str, data: bytes, encoding: str = "", generation: int | None = None) -> int:
        """Store an object as a new generation, unless one is given. Returns the generation."""
        with self._lock:
            if name not in self._objects:
                bisect.insort(self._names, name)
            number = next(self._numbers) if generation is None else generation
            stored = Stored(data, number, crc32c_of(data), encoding)
            self._objects[name] = stored
            return stored.generation

    def put_many(self, names: Iterable[str], data: bytes) -> None:
        """Store many objects with the same content."""
        stored = Stored(data, next(self._numbers), crc32c_of(data))
        self._objects.update((name, stored) for name in names)
        self._names = sorted(self._objects)

    def get(self, name: str) -> bytes | None:
        found = self._objects.get(name)
        return found.data if found else None

    def names(self) -> list[str]:
        return list(self._names)

    def remove(self, name: str) -> None:
        with self._lock:
            del self._objects[name]
            self._names.remove(name)

    # The methods of the API, with its query parameters.

    def list(self, query: Mapping[str, str]) -> Answer:
        prefix, delimiter = query.get("prefix", ""), query.get("delimiter")
        start, end = query.get("startOffset", ""), query.get("endOffset")
        most = min(int(query.get("maxResults", PAGE)), PAGE)
        items, prefixes, token = [], [], None
        with self._lock:
            names = self._names
            place = bisect.bisect_left(names, max(prefix, start))
            if "pageToken" in query:
                place = bisect.bisect_left(names, base64.b64decode(query["pageToken"]).decode())
            while place < len(names) and names[place].startswith(prefix):
                name = names[place]
                if end and name >= end:
                    break
                if len(items) + len(prefixes) == most:
                    token = base64.b64encode(name.encode()).decode()
                    break
                cut = name.find(delimiter, len(prefix)) if delimiter else -1
                if cut >= 0:
                    prefixes.append(name[: cut + len(delimiter)])
                    place = bisect.bisect_left(names, prefixes[-1] + "\U0010ffff")
                else:
                    items.append(self._resource(name, self._objects[name]))
                    place += 1
        return _json(_of_fields(query.get("fields"), items, prefixes, token))

    def stat(self, name: str, query: Mapping[str, str]) -> Answer:
        return _json(self._resource(name, self._wanted(name, query)))

    def rewrite(self, name: str, query: Mapping[str, str]) -> Answer:
        """Copy an object inside the bucket."""
        found = self._wanted(name, query)
        target = query["target"]
        self.put(target, found.data, found.encoding)
        size = str(len(found.data))
        return _json(
            {
                "kind": "storage#rewriteResponse",
                "totalBytesRewritten": size,
                "objectSize": size,
                "done": True,
                "resource": self._resource(target, self._objects[target]),
            }
        )

    def read(self, name: str, query: Mapping[str, str], span: str | None) -> Answer:
        found = self._wanted(name, query)
        md5 = base64.b64encode(hashlib.md5(found.data).digest()).decode()
        headers = {
            "x-goog-hash": f"crc32c={found.crc32c},md5={md5}",
            "x-goog-generation": str(found.generation),
        }
        if found.encoding:
            headers["Content-Encoding"] = found.encoding
        if span is None:
            return Answer(200, found.data, headers)
        size = len(found.data)
        first, last = re.fullmatch(r"bytes=(\d*)-(\d*)", span).groups()
        start = int(first) if first else max(size - int(last), 0)
        stop = min(int(last) + 1, size) if first and last else size
        if start >= size:
            return Answer(416, b"", {"Content-Range": f"bytes */{size}"})
        headers["Content-Range"] = f"bytes {start}-{stop - 1}/{size}"
        return Answer(206, found.data[start:stop], headers)

    def delete(self, name: str, query: Mapping[str, str]) -> Answer:
        with self._lock:
            self._check_writable()
            self._wanted(name, query)
            self._check_generation(name, query)
            self.remove(name)
        return Answer(204)

    def upload(self, query: Mapping[str, str], headers: Mapping[str, str], body: bytes) -> Answer:
        self._check_writable()
        kind = query["uploadType"]
        if kind == "media":
            return self._store(query["name"], body, {}, query)
        if kind == "multipart":
            metadata, data = _parts(headers["Content-Type"], body)
            return self._store(metadata["name"], data, metadata, query)
        with self._lock:
            upload_id = f"upload-{next(self._numbers)}"
            self._uploads[upload_id] = (dict(query), json.loads(body), bytearray())
        return Answer(200, b"", {"upload_id": upload_id})

    def go_on(self, upload_id: str, span: str, body: bytes) -> Answer:
        """Take a chunk of a resumable upload."""
        with self._lock:
            if upload_id not in self._uploads:
                raise RefusedError(410, "The upload is finished or gone.")
            query, metadata, received = self._uploads[upload_id]
            first, total = re.fullmatch(r"bytes (?:(\d+)-\d+|\*)/(\d+|\*)", span).groups()
            if first is not None:
                if int(first) > len(received):
                    raise RefusedError(503, "A chunk is missing.")
                received[int(first) :] = body
            if total == "*" or len(received) < int(total):
                so_far = {"Range": f"bytes=0-{len(received) - 1}"} if received else {}
                return Answer(308, b"", so_far)
            del self._uploads[upload_id]
            return self._store(metadata["name"], bytes(received), metadata, query)

    def _store(
        self, name: str, data: bytes, metadata: Mapping[str, Any], query: Mapping[str, str]
    ) -> Answer:
        with self._lock:
            if metadata.get("crc32c", crc32c_of(data)) != crc32c_of(data):
                raise RefusedError(400, "Provided CRC32C does not match the content.", "invalid")
            self._check_generation(name, query)
            self.put(name, data)
            return _json(self._resource(name, self._objects[name]))

    def _check_writable(self) -> None:
        if self.read_only:
            raise RefusedError(403, "The caller does not have storage.objects.create access.")

    def _check_generation(self, name: str, query: Mapping[str, str]) -> None:
        expected = query.get("ifGenerationMatch")
        now = self._objects[name].generation if name in self._objects else 0
        if expected is not None and int(expected) != now:
            message = "At least one of the pre-conditions you specified did not hold."
            raise RefusedError(412, message, "conditionNotMet")

    def _wanted(self, name: str, query: Mapping[str, str]) -> Stored:
        found = self._objects.get(name)
        if found is None or query.get("generation", str(found.generation)) != str(found.generation):
            raise RefusedError(404, f"No such object: {self.name}/{name}", "notFound")
        return found

    def _resource(self, name: str, found: Stored) -> dict[str, str]:
        return {
            "name": name,
            "bucket": self.name,
            "generation": str(found.generation),
            "size": str(len(found.data)),
            "crc32c": found.crc32c,
            "updated": _TIME,
            "contentType": "application/octet-stream",
        }


def _of_fields(
    fields: str | None, items: list[Any], prefixes: list[str], token: str | None
) -> dict[str, Any]:
    whole = {"items": items, "prefixes": prefixes, "nextPageToken": token}
    answer = {key: value for key, value in whole.items() if value}
    if fields is None:
        return {"kind": "storage#objects", **answer}
    inner = _ITEM_FIELDS.search(fields)
    outer = _ITEM_FIELDS.sub("items", fields).split(",")
    if inner and items:
        names = inner[1].split(",")
        answer["items"] = [{name: item[name] for name in names if name in item} for item in items]
    return {key: value for key, value in answer.items() if key in outer}


def _parts(content_type: str, body: bytes) -> tuple[dict[str, Any], bytes]:
    """The metadata and content of a multipart upload."""
    boundary = re.search(r'boundary="?([^";]+)"?', content_type)[1].encode()
    _, first, rest = body.split(b"--" + boundary + b"\r\n", 2)
    data = rest.rsplit(b"\r\n--" + boundary + b"--", 1)[0]
    metadata = json.loads(first.split(b"\r\n\r\n", 1)[1])
    return metadata, data.split(b"\r\n\r\n", 1)[1]


def _json(value: Any) -> Answer:
    return Answer(200, json.dumps(value).encode(), {"Content-Type": "application/json"})
