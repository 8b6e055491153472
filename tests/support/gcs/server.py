"""A server with the API of Google Cloud Storage, on 127.0.0.1, which fails on demand.

    python -m tests.support.gcs.server --delay-ms 50 --objects 100000

prints its address and serves until it is ended. GET /_stats gives the number of requests by kind.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import pathlib
import socket
import struct
import threading
import time
import urllib.parse
from collections import Counter
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import NamedTuple

from tests.support.gcs import faults
from tests.support.gcs.rules import Answer, Bucket, RefusedError

_RST = struct.pack("ii", 1, 0)  # SO_LINGER: close by a reset


class Request(NamedTuple):
    """A client's request. Its kind is list, stat, read, upload, rewrite, delete or permissions."""

    kind: str
    bucket: str
    name: str
    query: dict[str, str]
    span: str | None = None


class Server(ThreadingHTTPServer):
    """Buckets, a log of requests, delays and faults.

    Attributes:
        buckets: by name.
        requests: all requests in order.
        delay: seconds before each answer.
        faults: the faults, or None.
        most_at_once: the largest number of concurrent requests.
        connections: the number of connections.
    """

    daemon_threads = True
    request_queue_size = 256

    def __init__(
        self, *names: str, delay: float = 0.0, host: str = "127.0.0.1", port: int = 0
    ) -> None:
        super().__init__((host, port), _Handler)
        self.buckets = {name: Bucket(name) for name in names}
        self.delay = delay
        self.faults: faults.Faults | None = None
        self.requests: list[Request] = []
        self.most_at_once = self.connections = 0
        self._at_once = 0
        self._lock = threading.Lock()
        self.ending = threading.Event()

    @property
    def address(self) -> str:
        host, port = self.server_address[:2]
        return f"http://{host}:{port}"

    def counts(self) -> Counter[str]:
        """Requests by kind."""
        return Counter(request.kind for request in list(self.requests))

    def get_request(self) -> tuple[socket.socket, object]:
        self.connections += 1
        return super().get_request()

    def handle_error(self, *_: object) -> None:
        """Ignore clients that disconnect."""

    @contextlib.contextmanager
    def taking(self, request: Request) -> Iterator[None]:
        with self._lock:
            self.requests.append(request)
            self._at_once += 1
            self.most_at_once = max(self.most_at_once, self._at_once)
        try:
            yield
        finally:
            with self._lock:
                self._at_once -= 1


@contextlib.contextmanager
def serving(*names: str) -> Iterator[Server]:
    """Run a server with buckets of these names in threads of this process."""
    server = Server(*names)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.ending.set()
        server.shutdown()
        server.server_close()
        thread.join()


class _Handler(BaseHTTPRequestHandler):
    server: Server
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def _handle(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if self.path == "/_stats":
            self._send(Answer(200, json.dumps(self.server.counts()).encode()))
            return
        request = self._request()
        with self.server.taking(request):
            self.server.ending.wait(self.server.delay)
            broken = self.server.faults
            fault = broken.pick(request.kind, request.name) if broken else ""
            if fault in faults.STATUS:
                self._send(RefusedError(int(fault), f"injected {fault}").answer)
            elif fault == faults.TIMEOUT:
                self.server.ending.wait(broken.stall)
                self._reset()
            elif fault == faults.LOST:
                self._answer(request, body)
                self._reset()
            else:
                self._send(self._answer(request, body), fault)

    do_GET = do_POST = do_PUT = do_DELETE = _handle  # noqa: N815

    def _request(self) -> Request:
        url = urllib.parse.urlsplit(self.path)
        query = dict(urllib.parse.parse_qsl(url.query, keep_blank_values=True))
        words = url.path.partition("/storage/v1/b/")[2].split("/", 2)
        bucket, rest = words[0], [urllib.parse.unquote(word) for word in words[1:]]
        name = rest[1] if len(rest) > 1 else ""
        if "/rewriteTo/b/" in url.path:  # NAME/rewriteTo/b/BUCKET/o/NAME, each name quoted
            name, _, rest_of_path = words[2].partition("/rewriteTo/b/")
            query["target"] = urllib.parse.unquote(rest_of_path.partition("/o/")[2])
            return Request("rewrite", bucket, urllib.parse.unquote(name), query)
        if url.path.startswith("/upload/"):
            kind = "upload"
        elif self.command == "DELETE":
            kind = "delete"
        elif query.get("alt") == "media":
            kind = "read"
        else:
            kind = "stat" if name else "list"
        return Request(kind, bucket, name, query, self.headers.get("Range"))

    def _answer(self, request: Request, body: bytes) -> Answer:
        try:
            return self._done(request, body)
        except RefusedError as refused:
            return refused.answer

    def _done(self, request: Request, body: bytes) -> Answer:
        bucket, query = self.server.buckets.get(request.bucket), request.query
        if bucket is None:
            raise RefusedError(404, "The specified bucket does not exist.", "notFound")
        if bucket.private:
            if "Authorization" not in self.headers:
                raise RefusedError(401, "Anonymous caller does not have storage.objects access.")
            if self.headers["Authorization"] != f"Bearer {bucket.private}":
                raise RefusedError(403, "The caller does not have storage.objects access.")
        if bucket.requester_pays and "userProject" not in query:
            message = "Bucket is a requester pays bucket but no user project provided."
            raise RefusedError(400, message, "required")
        if request.kind == "upload" and self.command == "POST":
            answer = bucket.upload(query, self.headers, body)
            if "upload_id" in answer.headers:
                place = f"{self.server.address}{self.path}&upload_id={answer.headers['upload_id']}"
                return answer._replace(headers={"Location": place})
            return answer
        if request.kind == "upload":
            return bucket.go_on(query["upload_id"], self.headers["Content-Range"], body)
        if request.kind == "list":
            return bucket.list(query)
        if request.kind == "read":
            return bucket.read(request.name, query, request.span)
        return getattr(bucket, request.kind)(request.name, query)

    def _send(self, answer: Answer, fault: str = "") -> None:
        self.send_response(answer.status)
        for name, value in answer.headers.items():
            self.send_header(name, value)
        if answer.status != 204:
            self.send_header("Content-Length", str(len(answer.body)))
        self.end_headers()
        body, half = answer.body, len(answer.body) // 2
        if fault == faults.CORRUPTED and body:
            body = body[:half] + bytes([body[half] ^ 1]) + body[half + 1 :]
        if fault == faults.SLOW:
            for piece in (body[:1], body[1 : half + 1], body[half + 1 :]):
                self.wfile.write(piece)
                self.server.ending.wait(self.server.faults.pause)
        elif fault in (faults.RESET, faults.TRUNCATED):
            self.wfile.write(body[:half])
            if fault == faults.RESET:
                time.sleep(0.01)  # half of the body has been sent
                self._reset()
            self.close_connection = True
        else:
            self.wfile.write(body)

    def _reset(self) -> None:
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RST)
        self.close_connection = True
        for each in (self.wfile, self.rfile, self.connection):
            each.close()

    def log_message(self, *_: object) -> None:
        """Print nothing."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--bucket", default="bucket")
    parser.add_argument("--delay-ms", type=float, default=0.0)
    parser.add_argument("--objects", type=int, default=0, help="photos/0000000.jpg and so on")
    parser.add_argument("--folder", type=pathlib.Path, help="files to store first")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0)
    options = parser.parse_args()
    server = Server(
        options.bucket, delay=options.delay_ms / 1000, host=options.host, port=options.port
    )
    for path in sorted(options.folder.rglob("*")) if options.folder else ():
        if path.is_file():
            name = path.relative_to(options.folder).as_posix()
            server.buckets[options.bucket].put(name, path.read_bytes())
    names = (f"photos/{number:07}.jpg" for number in range(options.objects))
    server.buckets[options.bucket].put_many(names, b"x")
    print(server.address, flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main()
