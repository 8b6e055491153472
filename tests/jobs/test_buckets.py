"""Whole runs on gs://, against a server that follows GCS's rules and fails on demand."""

import collections
import io
import os
import subprocess
import sys
import tarfile

import pyarrow.parquet as pq
import pytest

import encoder
from encoder.storage.gcs import client as gcs_client_module
from encoder.storage.gcs.client import gcs_client
from encoder.storage.registry import store_for
from pipeline.__main__ import main
from pipeline.dataset.manifest import read_manifest, read_record
from pipeline.inputs.stores import name_ranges
from pipeline.upkeep.verify import verify
from tests.conftest import write_image
from tests.support.gcs import rules
from tests.support.gcs.faults import ALL, Faults

OUTPUT = "gs://bucket/dataset"
PHOTOS = ("--input", "gs://bucket/photos")
KINDS = ("embeddings", "failures")


@pytest.fixture
def place(gcs, small_bundle, tmp_path):
    """A bucket with a bundle and photographs."""
    bucket = gcs.buckets["bucket"]
    for path in small_bundle.iterdir():
        bucket.put(f"bundle/{path.name}", path.read_bytes())
    for n in range(30):
        put_photo(bucket, tmp_path, n)
    bucket.put("photos/bad.jpg", b"not an image")
    return bucket


def put_photo(bucket, folder, n, seed=None):
    path = write_image(folder / f"{n:02}.png", n if seed is None else seed)
    bucket.put(f"photos/{n % 3}/{path.name}", path.read_bytes())


def words(*more):
    return ["run", *PHOTOS, "--encoder", "gs://bucket/bundle", "--output", OUTPUT, *more]


def run(*more):
    return main(words(*more))


def record():
    return read_record(OUTPUT, next(reversed(read_manifest(OUTPUT)[0].runs)))


def rows(kind="embeddings"):
    """The rows that a reader finds by glob. Checks that none occurs twice."""
    folder = f"{OUTPUT}/{kind}"
    found = []
    for info in store_for(folder).list_files(folder):
        found += pq.read_table(io.BytesIO(store_for(folder).read(info.path)[0])).to_pylist()
    assert max(collections.Counter(row["uri"] for row in found).values(), default=1) == 1
    return {row["uri"].removeprefix("gs://bucket/"): row for row in found}


def whole():
    return [finding for finding in verify(OUTPUT) if not finding.note] == []


def test_requests(gcs, place, capsys):
    assert run() == 0, capsys.readouterr().err
    reads = collections.Counter(r.name for r in gcs.requests if r.kind == "read")
    photos = [name for name in place.names() if name.startswith("photos/")]
    assert all(reads[name] == 1 for name in photos)
    assert reads["bundle/encoder.keras"] == 2  # once to check it at the start, once for the worker
    versions = {r.query["generation"] for r in gcs.requests if r.name in photos}
    assert versions == {row["version"] for kind in KINDS for row in rows(kind).values()}
    conditions = [r.query.get("ifGenerationMatch") for r in gcs.requests if r.kind == "upload"]
    assert conditions.count("0") == len(conditions) - 1  # except the record of the run
    assert sum(r.kind == "list" and r.query["prefix"] == "photos/" for r in gcs.requests) <= 3
    gcs.requests.clear()
    assert run() == 0
    assert "nothing to do" in capsys.readouterr().out
    assert not [r for r in gcs.requests if r.kind == "read" and r.name in photos]


def test_what_a_run_leaves_aside(place, tmp_path, capsys):
    image = write_image(tmp_path / "x.png", 99).read_bytes()
    for name in ("@eaDir/x.png", "x.ppm", "shoot [1]/x.png", "none/x.md", "tmp/x.png"):
        place.put(f"photos/{name}", image)
    inputs = (
        "GS://bucket/photos/shoot [1]/*.png",
        "gs://bucket/photos/none",
        "gs://bucket/photos/",
    )
    more = (word for text in inputs for word in ("--input", text))
    assert run(*more, "--exclude", "tmp", "--include", "*.ppm") == 0, capsys.readouterr().err
    expected = {"photos/shoot [1]/x.png", "photos/x.ppm"}
    assert {uri for uri in rows() if uri.split("/")[1] not in "012"} == expected
    text = "\n".join(record()["notes"])
    for line in (
        "--exclude 'tmp': matched 2 paths, such as gs://bucket/photos/tmp/x.png",
        "--include '*.ppm': matched 2 files, such as gs://bucket/photos/x.ppm",
        "--input gs://bucket/photos: 1 file in folders of a NAS or a system left aside (@eaDir)",
        "--input gs://bucket/photos/none: 1 file left aside with the extension .md",
        "--input gs://bucket/photos/none: finds nothing",
    ):
        assert line in text


@pytest.fixture
def in_ranges(monkeypatch):
    """Three names on a page, and ranges that are split after a page."""
    monkeypatch.setattr(rules, "PAGE", 3)
    monkeypatch.setattr(name_ranges, "PAGES_ALONE", 1)
    monkeypatch.setattr(name_ranges, "_PAGES", 1)


def test_a_bucket_listed_in_ranges(gcs, place, in_ranges, tmp_path, capsys, monkeypatch):
    """Rows, counts and notes are those of one listing; also through faults."""
    image = write_image(tmp_path / "x.png", 99).read_bytes()
    for name in (*(f"1/{n}.md" for n in range(9)), "2/z.ppm", "é/中.png", "é/", "@eaDir/x.png"):
        place.put(f"photos/{name}", image)
    with tarfile.open(tmp_path / "a.tar", "w") as archive:
        archive.add(write_image(tmp_path / "t.png", 100), "t.png")
    place.put("photos/2/zz.tar", (tmp_path / "a.tar").read_bytes())
    gcs.faults = Faults(0.1, pause=0.05)
    assert run() == 0, capsys.readouterr().err
    gcs.faults = None
    starts = {r.query.get("startOffset") for r in gcs.requests if r.kind == "list"}
    assert len(starts) > 6
    first, notes = rows(), record()["notes"]
    assert set(first) >= {"photos/é/中.png", "photos/2/zz.tar#t.png", "photos/2/29.png"}
    assert len(first) == 32
    monkeypatch.undo()
    assert run("--run-id", "whole") == 0, capsys.readouterr().err
    assert record()["unchanged"] + record()["failed"] == record()["listed"] == 33
    assert rows() == first
    assert record()["notes"] == notes
    assert any("9 files left aside with the extension .md" in note for note in notes)


def test_a_range_that_can_not_be_listed_fails_the_run(gcs, place, in_ranges, capsys):
    assert run() == 0, capsys.readouterr().err
    before = rows()
    place.remove("photos/0/00.png")
    starts = []

    def is_range(kind, name):
        starts.append(gcs.requests[-1].query.get("startOffset", ""))
        return kind == "list" and starts[-1].startswith("photos/2/")

    gcs.faults = Faults(1, ["503"], match=is_range)
    assert run("--request-deadline", "1") == 1
    gcs.faults = None
    assert "photos/1/" in {start[:9] for start in starts}
    assert rows() == before


@pytest.mark.parametrize(
    "kinds",
    [ALL, *(pytest.param((kind,), marks=pytest.mark.long) for kind in ALL)],
    ids=["mixed", *ALL],
)
def test_whole_runs_through_faults(gcs, place, tmp_path, capsys, kinds):
    """A fifth of all requests has a fault."""
    with tarfile.open(tmp_path / "a.tar", "w") as archive:
        for n in range(5):
            archive.add(write_image(tmp_path / f"t{n}.png", 100 + n), f"{n}.png")
    place.put("photos/a.tar", (tmp_path / "a.tar").read_bytes())
    gcs.faults = Faults(0.2, kinds, pause=0.05)
    assert run() == 0, capsys.readouterr().err
    gcs.faults, faults = None, gcs.faults
    assert faults.injected
    assert set(rows("failures")) == {"photos/bad.jpg"}
    before = rows()
    assert len(before) == 35
    assert whole()

    for n in (0, 1, 2):
        put_photo(place, tmp_path, n, seed=50 + n)
    place.remove("photos/0/03.png")
    put_photo(place, tmp_path, 90)
    gcs.faults = faults
    assert run() == 0, capsys.readouterr().err
    gcs.faults = None
    counts = {name: record()[name] for name in ("new", "changed", "deleted", "embedded", "failed")}
    assert counts == {"new": 1, "changed": 3, "deleted": 1, "embedded": 4, "failed": 0}
    after = rows()
    assert set(after) == set(before) - {"photos/0/03.png"} | {"photos/0/90.png"}
    unchanged = [row for uri, row in before.items() if after.get(uri) == row]
    assert len(unchanged) == 31
    assert whole()
    local = encoder.load("gs://bucket/bundle")
    pixels = local.decode(place.get("photos/0/90.png"))
    vector = local.embed(pixels[None])[0]
    assert after["photos/0/90.png"]["embedding"] == pytest.approx(vector, abs=1e-5)


def test_a_bundle_is_written_and_read_through_faults(gcs, small_model_file):
    gcs.buckets["bucket"].put("small.keras", small_model_file.read_bytes())
    gcs.faults = Faults(0.4, pause=0.05)
    made = encoder.extract("gs://bucket/small.keras", "gs://bucket/made", preprocess="unit")
    assert encoder.load("gs://bucket/made").spec == made.spec
    assert gcs.faults.injected


@pytest.mark.parametrize("change", ["written", "deleted"])
def test_an_object_that_changes_while_the_run_goes_on(gcs, place, tmp_path, capsys, change):
    name = "photos/0/06.png"

    def meddle(kind, requested):
        if kind == "read" and requested == name and gcs.counts()["meddled"] == 0:
            gcs.requests.append(gcs.requests[-1]._replace(kind="meddled"))
            put_photo(place, tmp_path, 6, seed=60) if change == "written" else place.remove(name)
        return False

    gcs.faults = Faults(0, match=meddle)
    assert run() == 0, capsys.readouterr().err
    failed = rows("failures")[name]
    assert (failed["stage"], failed["error"]) == ("read", "ChangedError")
    assert "the next run takes it as it is then" in failed["message"]
    assert name not in rows()
    assert run() == 0
    assert (name in rows()) == (change == "written")
    assert set(rows("failures")) == {"photos/bad.jpg"}
    assert whole()


def test_an_object_that_can_never_be_read(gcs, place, capsys):
    gcs.faults = Faults(1, ["500"], match=lambda kind, name: name == "photos/0/06.png")
    assert run("--request-deadline", "1") == 0, capsys.readouterr().err
    failed = rows("failures")["photos/0/06.png"]
    assert (failed["stage"], failed["error"]) == ("read", "TimeoutError")
    assert "given up after 1 s of attempts" in failed["message"]
    assert len(rows()) == 29
    gcs.faults = None
    assert run() == 0
    assert len(rows()) == 30


def test_a_store_that_dies_ends_the_run_and_loses_nothing(gcs, place, capsys):
    def dead(kind, name):
        return kind == "read" and name.startswith("photos/") and gcs.counts()["read"] > 14

    gcs.faults = Faults(1, ["503"], match=dead)
    assert run("--request-deadline", "0.5", "--reads-in-flight", "2") == 1
    assert "requests in a row were given up" in capsys.readouterr().err
    assert read_manifest(OUTPUT)[0].runs == {}
    gcs.faults = None
    assert run() == 0
    assert len(rows()) == 30
    assert whole()


def test_a_listing_that_fails_changes_nothing(gcs, place, capsys):
    assert run() == 0
    before = place.names()
    gcs.requests.clear()
    # After the checks of inputs and output, the last of which is that the output can be written.
    gcs.faults = Faults(1, ["503"], match=lambda kind, _: kind == "list" and gcs.counts()["delete"])
    assert run("--request-deadline", "0.5") == 1
    assert "given up" in capsys.readouterr().err
    assert place.names() == before


def test_of_two_runs_the_later_commit_loses_and_loses_no_work(gcs, place, capsys, monkeypatch):
    monkeypatch.setattr(gcs_client_module, "_UPLOAD_SECONDS", 60)  # the other run takes some time

    def meddle(kind, name):
        if kind == "upload" and any("runs/slow.json" in n for n in place.names()):
            gcs.faults = None
            command = [sys.executable, "-m", "pipeline", *words("--run-id", "fast")]
            others.append(subprocess.run(command, check=False).returncode)
        return False

    others = []
    gcs.faults = Faults(0, match=meddle)
    assert run("--run-id", "slow") == 1
    assert others == [0]
    assert "another run (fast) committed to this output" in capsys.readouterr().err
    assert list(read_manifest(OUTPUT)[0].runs) == ["fast"]
    assert run() == 0
    assert len(rows()) == 30
    assert whole()


@pytest.mark.long
def test_the_requester_pays_also_for_workers_in_processes_of_their_own(gcs, place, capsys):
    place.requester_pays = True
    assert run() == 2
    assert "name your project by --user-project" in capsys.readouterr().err
    parallel = ("--direct_running_mode", "multi_processing", "--direct_num_workers", "2")
    assert run("--user-project", "mine", *parallel) == 0, capsys.readouterr().err
    assert len(pq_uris()) == 30


def pq_uris():
    gcs_client.cache_clear()
    return set(rows())


@pytest.mark.parametrize(
    ("change", "more", "message"),
    [
        ({"private": "token"}, (), "--input: gs://bucket/photos: not public, and no credentials"),
        ({"read_only": True}, (), "can't be written: gs://bucket/dataset/runs/"),
        ({}, ("--input", "gs://none/x/*.jpg"), "--input: gs://none: there is no bucket gs://none"),
    ],
)
def test_what_is_wrong_is_said_at_once(gcs, place, capsys, change, more, message):
    for name, value in change.items():
        setattr(place, name, value)
    assert run(*more) == 2
    assert message in capsys.readouterr().err


CREDENTIALS = """{"type": "authorized_user", "client_id": "x", "client_secret": "x",
"refresh_token": "x", "token": "%s", "expiry": "2099-01-01T00:00:00Z"}"""


@pytest.mark.parametrize(
    ("private", "token", "message"),
    [
        ("secret", None, "no credentials for Google Cloud were found; run 'gcloud auth"),
        ("", None, "is not a dataset"),
        ("secret", "secret", "is not a dataset"),
        ("secret", "another", "permission denied: "),
    ],
    ids=["none", "none for a public bucket", "application default", "without permission"],
)
def test_credentials(gcs, place, tmp_path, private, token, message):
    """On a machine outside Google Cloud, where no metadata server answers."""
    place.private = private
    environment = {
        **{key: value for key, value in os.environ.items() if not key.startswith("GOOGLE_")},
        "API_ENDPOINT_OVERRIDE": gcs.address,
        "GCE_METADATA_IP": "127.0.0.1:1",
        "HOME": str(tmp_path),
        "CLOUDSDK_CONFIG": str(tmp_path),
    }
    del environment["STORAGE_EMULATOR_HOST"]
    if token:
        path = tmp_path / "adc.json"
        path.write_text(CREDENTIALS % token)
        environment["GOOGLE_APPLICATION_CREDENTIALS"] = str(path)
    command = [sys.executable, "-m", "pipeline", "status", OUTPUT]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)
    assert done.returncode == 2
    assert message in done.stderr
