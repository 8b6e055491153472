"""The manifest: it is read as it was written, and damage is named."""

import json

import pytest

from encoder.errors import ChangedError, InputError
from encoder.spec import read_spec
from pipeline.dataset.manifest import (
    EncoderState,
    Manifest,
    existing_manifest,
    read_manifest,
    read_record,
    write_manifest,
)
from pipeline.errors import JobError
from pipeline.records import EMBEDDINGS, FAILURES, ListState, Part


@pytest.fixture
def state(small_bundle):
    spec = read_spec(small_bundle)
    parts = (
        Part(EMBEDDINGS, f"embeddings/encoder={spec.id}/run=a/part-02.parquet", 3, 300),
        Part(
            EMBEDDINGS,
            f"embeddings/encoder={spec.id}/run=a/part-01.parquet",
            2,
            200,
            crc32c="0" * 8,
        ),
        Part(FAILURES, f"failures/encoder={spec.id}/run=a/part-03.parquet", 1, 100),
    )
    lists = (ListState("/l.csv", f"lists/encoder={spec.id}/uris-0a.parquet"),)
    return EncoderState(spec, parts, lists)


@pytest.fixture
def manifest(state):
    return Manifest().committing("a", "token", state, {"runs/y.json", "runs/x.json"})


def read_back(manifest):
    return Manifest.from_json(manifest.to_json().encode(), "manifest.json")


def test_what_is_written_is_read(manifest, state):
    found = read_back(manifest)
    assert found.runs == {"a": "token"}
    assert found.removed == ("runs/x.json", "runs/y.json")
    (again,) = found.encoders.values()
    assert again.spec == state.spec
    assert again.lists == state.lists
    assert sorted(again.parts) == sorted(state.parts)
    assert read_back(found) == found


def test_the_text_does_not_depend_on_the_order_of_parts(manifest, state):
    turned = Manifest().committing(
        "a",
        "token",
        EncoderState(state.spec, state.parts[::-1], state.lists),
        {"runs/x.json", "runs/y.json"},
    )
    assert turned.to_json() == manifest.to_json()


def test_live_files(manifest, state):
    paths = {part.path for part in state.parts} | {state.lists[0].uris_path}
    assert manifest.live_files() == paths


def test_runs_stay_in_the_order_of_their_commits(manifest, state):
    later = manifest.committing("b", "t", state, set()).committing("A", "t", state, set())
    assert list(read_back(later).runs) == ["a", "b", "A"]


def change(values, *place, value):
    for key in place[:-1]:
        values = values[key]
    values[place[-1]] = value


@pytest.mark.parametrize(
    ("place", "value"),
    [
        (("format",), "other/1"),
        (("runs",), ["a"]),
        (("runs",), {"a": 1}),
        (("encoders",), []),
        (("removed",), "x"),
        (("removed",), [1]),
        (("encoders", 0, "embeddings"), {}),
        (("encoders", 0, "embeddings", 0, "rows"), "3"),
        (("encoders", 0, "embeddings", 0, "rows"), 3.5),
        (("encoders", 0, "embeddings", 0, "path"), None),
        (("encoders", 0, "embeddings", 0, "bytes"), True),
        (("encoders", 0, "lists"), {"/l.csv": 1}),
        (("encoders", 0, "spec"), "none"),
        (("encoders", 0, "spec", "dim"), "16"),
    ],
    ids=lambda value: "-".join(map(str, value)) if isinstance(value, tuple) else repr(value),
)
def test_values_of_another_type_are_damage(manifest, place, value):
    values = json.loads(manifest.to_json())
    (name,) = values["encoders"]
    place = tuple(name if key == 0 and number == 1 else key for number, key in enumerate(place))
    change(values, *place, value=value)
    with pytest.raises(JobError, match=r"^/out/manifest\.json is damaged \(.+\); restore it"):
        Manifest.from_json(json.dumps(values).encode(), "/out/manifest.json")


@pytest.mark.parametrize("text", [b"", b"{", b"[]", b"null", b'"text"', b"\xff"])
def test_text_that_is_no_manifest(text):
    with pytest.raises(JobError, match="is damaged"):
        Manifest.from_json(text, "manifest.json")


def test_a_manifest_is_replaced_only_in_the_expected_version(tmp_path, manifest):
    output = str(tmp_path)
    assert read_manifest(output) == (Manifest(), None)
    with pytest.raises(InputError, match="is not a dataset: it has no manifest"):
        existing_manifest(output)
    write_manifest(output, manifest, None)
    found, version = existing_manifest(output)
    assert found.runs == manifest.runs
    with pytest.raises(ChangedError):
        write_manifest(output, Manifest(), None)
    write_manifest(output, Manifest(), version)
    assert read_manifest(output)[0] == Manifest()


def test_records_have_their_types(tmp_path):
    (tmp_path / "runs").mkdir()
    path = tmp_path / "runs" / "a.json"
    with pytest.raises(FileNotFoundError):
        read_record(str(tmp_path), "a")
    path.write_text('{"run_id": "a", "listed": "3"}')
    with pytest.raises(ValueError, match=r"listed|missing"):
        read_record(str(tmp_path), "a")
