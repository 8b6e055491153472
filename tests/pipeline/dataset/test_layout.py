"""Paths inside a dataset, and the values that they contain."""

import pytest

from encoder.errors import InputError
from pipeline.dataset import layout
from pipeline.records import EMBEDDINGS, FAILURES

ID = "9fa23a2c560b6581"


def test_paths_are_those_of_the_contract():
    """The paths in docs/contracts.md."""
    assert layout.encoder_folder(EMBEDDINGS, ID) == f"embeddings/encoder={ID}"
    path = layout.part_path(FAILURES, ID, "run-1", "0a1b")
    assert path == f"failures/encoder={ID}/run=run-1/part-0a1b.parquet"
    assert layout.manifest_path("gs://b/out") == "gs://b/out/manifest.json"
    assert layout.record_path("/out", "run-1") == "/out/runs/run-1.json"
    digest = "ab" * 32
    assert layout.uris_path(ID, digest) == f"lists/encoder={ID}/uris-{digest[:32]}.parquet"


def test_paths_are_recognised():
    part = layout.part_path(EMBEDDINGS, ID, "run-1", "0a1b")
    assert layout.is_part(part)
    assert layout.run_of(part) == "run-1"
    assert layout.is_uris(layout.uris_path(ID, "ab" * 32))
    assert not layout.is_part(f"embeddings/encoder={ID}/run=run-1/_SUCCESS")
    assert not layout.is_uris(part)
    assert layout.run_of("manifest.json") is None


@pytest.mark.parametrize("command", [layout.COMPACT, layout.REPAIR])
def test_parts_of_upkeep(command):
    run_id = layout.new_upkeep_id(command)
    assert layout.is_of_upkeep(layout.part_path(EMBEDDINGS, ID, run_id, "0a"))
    assert not layout.is_of_upkeep(layout.part_path(EMBEDDINGS, ID, "nightly", "0a"))
    with pytest.raises(InputError, match="are for upkeep's parts"):
        layout.check_run_id(run_id)


@pytest.mark.parametrize("run_id", ["a", "2026-11-27T00.15", "A_b-C.9", "x" * 128])
def test_run_ids(run_id):
    assert layout.check_run_id(run_id) == run_id


@pytest.mark.parametrize(
    "run_id", ["", ".", "..", "../x", "a/b", "a b", "-a", "_a", "\u00e4", "x" * 129, "a\n"]
)
def test_run_ids_that_can_not_be_part_of_a_path(run_id):
    with pytest.raises(InputError, match="--run-id"):
        layout.check_run_id(run_id)


def test_outputs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert layout.output_folder("out/") == str(tmp_path / "out")
    assert layout.output_folder("gs://bucket/out/") == "gs://bucket/out"


@pytest.mark.parametrize("output", ["s3://bucket/out", "hdfs://host/out", "azfs://a/b"])
def test_outputs_in_stores_that_are_only_read(output):
    with pytest.raises(InputError, match=r"--output .*is for input only; expected a local path"):
        layout.output_folder(output)


def test_staged_parts():
    final = layout.part_path(EMBEDDINGS, ID, "run-1", "0a1b")
    waiting = layout.staged(final)
    assert waiting == f"staging/{final}"
    assert (layout.is_staged(waiting), layout.is_staged(final)) == (True, False)
    assert layout.final(waiting) == layout.final(final) == final
    assert layout.run_of(waiting) == "run-1"
    assert layout.is_part(waiting)
