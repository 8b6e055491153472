"""Runs that write very many parts commit few large ones."""

import json

import pyarrow.dataset as ds
import pytest
from apache_beam.pvalue import TaggedOutput

from pipeline.dataset.manifest import read_manifest
from pipeline.errors import JobError
from pipeline.records import EMBEDDINGS, FAILURES, Part
from pipeline.steps import merge
from pipeline.steps.merge import WRITTEN, _grouped
from tests.conftest import write_image


def part(number, kind=EMBEDDINGS, size=10):
    return Part(kind, f"staging/{kind}/part-{number:04}", 5, size)


def grouped(parts):
    found = list(_grouped(WRITTEN, parts))
    kept = [each.value for each in found if isinstance(each, TaggedOutput)]
    return kept, [group for origin, group in found if origin == WRITTEN] if not kept else []


def test_few_parts_stay_as_they_are(monkeypatch):
    monkeypatch.setattr(merge, "MOST_PARTS", 20)
    parts = [part(number) for number in range(20)]
    assert grouped(parts) == (parts, [])


def test_many_parts_are_grouped_by_kind_and_size(monkeypatch):
    monkeypatch.setattr(merge, "MOST_PARTS", 20)
    monkeypatch.setattr(merge, "MERGED_BYTES", 45)
    parts = [part(number, FAILURES if number % 7 == 0 else EMBEDDINGS) for number in range(30)]
    parts.append(part(99, size=1000))
    kept, groups = grouped(parts)
    assert kept == []
    assert sorted(each for group in groups for each in group) == sorted(parts)
    for group in groups:
        assert len({each.kind for each in group}) == 1
        assert sum(each.bytes for each in group) <= 45 or len(group) == 1
    assert len(groups) == 7 + 1 + 2


@pytest.fixture
def many_parts(monkeypatch):
    """Every run counts as one that has written very many parts, of few rows each."""
    monkeypatch.setattr(merge, "MOST_PARTS", 1)
    monkeypatch.setattr("pipeline.steps.write.MAX_ROWS", 2)


def test_parts_that_wait_are_merged_by_the_run_that_takes_them(
    many_parts, tmp_path, dataset, monkeypatch
):
    for n in range(9):
        write_image(tmp_path / "p" / f"{n}.png", n)

    def die(*_):
        raise JobError("killed before the commit")

    monkeypatch.setattr(merge, "MOST_PARTS", 1000)
    with monkeypatch.context() as patch:
        patch.setattr("pipeline.steps.commit.commit", die)
        dataset.run(tmp_path / "p", code=1)
    assert len(list(dataset.folder.glob("staging/**/*.parquet"))) > 3
    monkeypatch.setattr(merge, "MOST_PARTS", 1)
    assert dataset.run(tmp_path / "p")["resumed"] == 9
    (state,) = read_manifest(str(dataset.folder))[0].encoders.values()
    assert [(each.kind, each.rows) for each in state.parts] == [(EMBEDDINGS, 9)]
    assert len(dataset.rows()) == 9
    assert not list(dataset.folder.glob("staging/**/*.parquet"))


def test_a_run_with_many_parts_commits_few(many_parts, tmp_path, dataset):
    for n in range(9):
        write_image(tmp_path / "p" / f"{n}.png", n)
    for n in range(3):
        (tmp_path / "p" / f"bad{n}.png").write_bytes(b"no image")
    dataset.run(tmp_path / "p")
    manifest, _ = read_manifest(str(dataset.folder))
    (state,) = manifest.encoders.values()
    assert [(each.kind, each.rows) for each in state.parts] == [(EMBEDDINGS, 9), (FAILURES, 3)]
    table = ds.dataset(dataset.folder / "embeddings").to_table()
    assert len(set(table["uri"].to_pylist())) == 9
    assert not list(dataset.folder.glob("staging/**/*.parquet")), "the small parts are gone"
    (record,) = (json.loads(path.read_text()) for path in (dataset.folder / "runs").iterdir())
    assert (record["embedded"], record["failed"], record["encoder_loads"]) == (9, 3, 1)
    assert record["failures_by_reason"] == {"decode UnidentifiedImageError": 3}
    assert record["measures"]["load_ms"]["count"] == 1
    # A copy and a changed image in the next run: a part with rows is written again without one.
    write_image(tmp_path / "p" / "copy.png", 3)
    write_image(tmp_path / "p" / "0.png", 50)
    dataset.run(tmp_path / "p")
    table = ds.dataset(dataset.folder / "embeddings").to_table()
    assert sorted(uri[-5:] for uri in table["uri"].to_pylist()) == sorted(
        [*(f"{n}.png" for n in range(9)), "y.png"]
    )
    records = [json.loads(path.read_text()) for path in (dataset.folder / "runs").iterdir()]
    assert max(record["copied"] for record in records) == 1
