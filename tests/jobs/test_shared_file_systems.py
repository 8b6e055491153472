"""Two hosts with one output over sshfs: networks and mounts of their own, a real server."""

import os
import sys

import pyarrow.dataset as ds
import pytest

from encoder.spec import read_spec
from pipeline.__main__ import main
from pipeline.dataset.manifest import read_manifest
from tests.conftest import write_image
from tests.support.hosts import two_hosts, what_is_missing

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif("SHARED_FS" not in os.environ, reason="make test-shared-fs"),
    pytest.mark.skipif(bool(what_is_missing()), reason=what_is_missing() or "can be run"),
]

COUNTING = """
import os, sys, time
from encoder.errors import ChangedError
from encoder.storage.local import LocalStore
path, host, seconds = sys.argv[1:]
store, end, number = LocalStore(), time.monotonic() + float(seconds), 0
while time.monotonic() < end:
    number += 1
    try:
        data, info = store.read(path)
        store.write_if(path, data + f"{host}-{number}\\n".encode(), info.version)
    except (ChangedError, OSError):  # a read may meet a file that is replaced
        continue
    print(f"{host}-{number}", flush=True)
"""


@pytest.fixture(scope="module")
def hosts(tmp_path_factory):
    """The two hosts, the folder that they share, and where they see it."""
    place = tmp_path_factory.mktemp("hosts")
    with two_hosts(place / "server", place / "mount") as found:
        yield *found, place / "server" / "shared", place / "mount"


def test_no_commit_is_lost(hosts, tmp_path):
    first, second, folder, mount = hosts
    (folder / "manifest.json").write_bytes(b"")
    (tmp_path / "counting.py").write_text(COUNTING)
    for name, host in (("a", first), ("b", second)):
        host.start(f"{sys.executable} {tmp_path}/counting.py {mount}/manifest.json {name} 8")
    results = [host.finish() for host in (first, second)]
    assert [code for code, _ in results] == [0, 0]
    committed = [line for _, printed in results for line in printed.split()]
    assert all(printed for _, printed in results)
    assert sorted((folder / "manifest.json").read_text().split()) == sorted(committed)


def test_of_two_runs_one_commits_and_the_other_loses_no_work(hosts, tmp_path, small_bundle):
    first, second, folder, mount = hosts
    for name in ("a", "b"):
        for n in range(20):
            write_image(tmp_path / name / f"{n}.png", n + 100 * ord(name))
    words = f"run --encoder {small_bundle} --output {mount}/out"
    for host, name in ((first, "a"), (second, "b")):
        line = f"{sys.executable} -m pipeline {words} --input {tmp_path}/{name} --run-id {name}"
        host.start(f"{line} 2>&1")
    results = dict(zip("ab", (first.finish(), second.finish()), strict=True))
    output = str(folder / "out")
    committed = list(read_manifest(output)[0].runs)
    assert committed
    assert sorted(committed) == sorted(name for name in "ab" if results[name][0] == 0)
    for name in set("ab") - set(committed):
        assert "committed to this output while" in results[name][1]
        again = ["--encoder", str(small_bundle), "--output", output, "--run-id", f"{name}-2"]
        assert main(["run", *again, "--input", f"{tmp_path}/{name}"]) == 0
    rows = ds.dataset(f"{output}/embeddings/encoder={read_spec(small_bundle).id}").to_table(["uri"])
    uris = rows["uri"].to_pylist()
    assert len(uris) == len(set(uris)) == 40
