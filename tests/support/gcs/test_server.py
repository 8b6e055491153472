"""The server of the tests follows the rules of GCS, as seen by a client."""

import json

import pytest
import requests

from tests.support.gcs.faults import Faults
from tests.support.gcs.rules import crc32c_of
from tests.support.gcs.server import serving


@pytest.fixture
def server():
    with serving("b") as server:
        yield server


@pytest.fixture
def ask(server):
    with requests.Session() as session:

        def ask(method, path, **more):
            return session.request(method, f"{server.address}{path}", timeout=5, **more)

        yield ask


def upload(ask, name, data, **query):
    more = "".join(f"&{key}={value}" for key, value in query.items())
    return ask("POST", f"/upload/storage/v1/b/b/o?uploadType=media&name={name}{more}", data=data)


def test_preconditions(ask):
    first = upload(ask, "a", b"1", ifGenerationMatch=0).json()["generation"]
    assert upload(ask, "a", b"2", ifGenerationMatch=0).status_code == 412
    second = upload(ask, "a", b"2", ifGenerationMatch=first).json()["generation"]
    assert int(second) > int(first)
    assert upload(ask, "a", b"3", ifGenerationMatch=first).status_code == 412
    path = "/storage/v1/b/b/o/a"
    assert ask("DELETE", f"{path}?ifGenerationMatch={first}").status_code == 412
    assert ask("DELETE", f"{path}?ifGenerationMatch={second}").status_code == 204
    assert ask("DELETE", path).status_code == 404


def test_generations_and_ranges(server, ask):
    first = server.buckets["b"].put("a/ä", b"0123456789")
    path = "/download/storage/v1/b/b/o/a%2F%C3%A4?alt=media"
    whole = ask("GET", f"{path}&generation={first}")
    assert (whole.content, whole.headers["x-goog-generation"]) == (b"0123456789", str(first))
    assert f"crc32c={crc32c_of(b'0123456789')}," in whole.headers["x-goog-hash"]
    for span, expected in (("2-4", b"234"), ("8-", b"89"), ("-3", b"789"), ("5-99", b"56789")):
        part = ask("GET", path, headers={"Range": f"bytes={span}"})
        assert (part.status_code, part.content) == (206, expected)
    assert part.headers["Content-Range"] == "bytes 5-9/10"
    assert ask("GET", path, headers={"Range": "bytes=10-"}).status_code == 416
    server.buckets["b"].put("a/ä", b"new")
    assert ask("GET", f"{path}&generation={first}").status_code == 404


def test_listing(server, ask):
    server.buckets["b"].put_many(["a/1", "a/2", "a/b/1", "a/b/2", "a/c/1", "é", "z"], b"x")

    def names(**query):
        answer = ask("GET", "/storage/v1/b/b/o", params=query).json()
        return [each["name"] for each in answer.get("items", ())], answer.get("prefixes", [])

    assert names(prefix="a/", delimiter="/") == (["a/1", "a/2"], ["a/b/", "a/c/"])
    assert names(startOffset="a/b/2", endOffset="z") == (["a/b/2", "a/c/1"], [])
    assert names(startOffset="z") == (["z", "é"], [])
    found, token = [], {}
    while token is not None:
        query = {"maxResults": 3, "fields": "items(name,size),nextPageToken", **token}
        answer = ask("GET", "/storage/v1/b/b/o", params=query).json()
        assert all(set(each) == {"name", "size"} for each in answer["items"])
        found += [each["name"] for each in answer["items"]]
        token = {"pageToken": answer["nextPageToken"]} if "nextPageToken" in answer else None
    assert found == ["a/1", "a/2", "a/b/1", "a/b/2", "a/c/1", "z", "é"]
    assert ask("GET", "/storage/v1/b/none/o").status_code == 404


def test_a_resumable_upload(server, ask):
    start = ask("POST", "/upload/storage/v1/b/b/o?uploadType=resumable", json={"name": "a"})
    place = start.headers["Location"].removeprefix(server.address)
    for span, data, status in (("0-2/*", b"012", 308), ("*/*", b"", 308), ("3-4/5", b"34", 200)):
        answer = ask("PUT", place, data=data, headers={"Content-Range": f"bytes {span}"})
        assert answer.status_code == status
    assert server.buckets["b"].get("a") == b"01234"


def test_who_may(server, ask):
    bucket = server.buckets["b"]
    bucket.private, path = "secret", "/storage/v1/b/b/o"
    asked = {token: {"Authorization": f"Bearer {token}"} for token in ("other", "secret")}
    assert ask("GET", path).status_code == 401
    assert ask("GET", path, headers=asked["other"]).status_code == 403
    assert ask("GET", path, headers=asked["secret"]).status_code == 200
    bucket.private, bucket.requester_pays = "", True
    assert "requester pays" in ask("GET", path).json()["error"]["message"]
    assert ask("GET", f"{path}?userProject=p").status_code == 200
    bucket.requester_pays, bucket.read_only = False, True
    assert upload(ask, "a", b"x").status_code == 403


def test_each_fault_is_what_it_says(server, ask):
    data = bytes(range(256)) * 100
    server.buckets["b"].put("a", data)
    path = "/download/storage/v1/b/b/o/a?alt=media"

    def faulty(kind):
        server.faults = Faults(1, [kind], stall=0.2, pause=0.05)

    for kind in ("429", "500", "503"):
        faulty(kind)
        assert ask("GET", path).status_code == int(kind)
    faulty("corrupted")
    wrong = ask("GET", path)
    assert len(wrong.content) == len(data)
    assert sum(a != b for a, b in zip(wrong.content, data, strict=True)) == 1
    assert crc32c_of(data) in wrong.headers["x-goog-hash"]
    for kind in ("reset", "truncated", "timeout"):
        faulty(kind)
        with pytest.raises(requests.RequestException):
            ask("GET", path)
    faulty("slow")
    assert ask("GET", path).content == data
    faulty("lost")
    with pytest.raises(requests.ConnectionError):
        upload(ask, "lost", b"x", ifGenerationMatch=0)
    server.faults = None
    assert server.buckets["b"].get("lost") == b"x"
    assert json.loads(ask("GET", "/_stats").text)["upload"] == 1
