"""Rules of incremental runs (docs/reprocessing.md) that no other file tests."""

import os
import pathlib
import re

import pytest

import encoder
from encoder.spec import read_spec
from pipeline.dataset.reader import open_dataset
from pipeline.embedding.handler import LoadedEncoder
from tests.conftest import write_image
from tests.support.dataset import dying

ROOT = pathlib.Path(__file__).parents[2]


@pytest.fixture
def run(images, dataset):
    """A function that runs the job, by default over the images, most of which may be missing."""

    def run(*inputs, **options):
        return dataset.run(*(inputs or [images]), options=["--allow-deletes"], **options)

    return run


def test_a_changed_image_has_only_its_new_row(run, images, tmp_path, dataset):
    run()
    old = dataset.by_name()["0.jpg"]
    path = write_image(images / "a" / "0.jpg", 50)
    counts = {"listed": 5, "changed": 1, "unchanged": 4, "embedded": 1}
    assert run() == counts
    new = dataset.by_name()["0.jpg"]
    assert new["embedding"] != old["embedding"]
    assert new["sha256"] != old["sha256"]
    assert new["version"] == f"{path.stat().st_mtime_ns}-{path.stat().st_size}"


def test_a_gone_image_loses_its_row(run, images, tmp_path, dataset):
    run()
    (images / "a" / "0.jpg").unlink()
    assert run() == {"listed": 4, "unchanged": 4, "deleted": 1}
    assert sorted(dataset.by_name()) == ["1.jpg", "2.jpg", "3.png", "4.png"]


def test_a_touched_image_keeps_its_vector(run, images, tmp_path, monkeypatch, dataset):
    run()
    old = dataset.by_name()["0.jpg"]
    os.utime(images / "a" / "0.jpg", ns=(10**18, 10**18))

    def never(*_):
        raise AssertionError("the model was called")

    monkeypatch.setattr(LoadedEncoder, "embed", never)
    assert run() == {"listed": 5, "unchanged": 5}
    new = dataset.by_name()["0.jpg"]
    assert new["version"].startswith(f"{10**18}-")
    assert {**new, "version": ""} == {**old, "version": ""}


def test_another_encoder_leaves_all_rows_alone(run, images, tmp_path, small_model_file, dataset):
    run()
    before = {path: path.read_bytes() for path in (tmp_path / "out").rglob("*.parquet")}
    (images / "a" / "0.jpg").unlink()
    encoder.extract(small_model_file, tmp_path / "second", layer="pool1")
    assert run(bundle=tmp_path / "second") == {"listed": 4, "new": 4, "embedded": 4}
    assert {path: path.read_bytes() for path in before} == before
    assert len(dataset.rows(bundle=tmp_path / "second")) == 4


def test_a_listing_that_fails_deletes_nothing(run, images, tmp_path, monkeypatch, dataset):
    write_image(tmp_path / "other" / "x.png", 9)
    run(images, tmp_path / "other")
    before = (tmp_path / "out" / "manifest.json").read_bytes()
    write_image(tmp_path / "other" / "y.png", 10)
    scandir = os.scandir

    def refusing(path):
        if str(path) == str(images):
            raise OSError(5, "Input/output error")
        return scandir(path)

    monkeypatch.setattr("os.scandir", refusing)
    assert "Input/output error" in run(images, tmp_path / "other", code=1)
    assert (tmp_path / "out" / "manifest.json").read_bytes() == before
    assert len(dataset.by_name()) == 6


def test_a_list_speaks_of_what_it_named_in_a_run_that_died(run, images, tmp_path, dataset):
    path = tmp_path / "list.txt"
    path.write_text("images/a/0.jpg\nimages/b/1.jpg\n")
    with dying():
        assert "killed" in run(path, code=1)
    path.write_text("images/b/1.jpg\n")
    assert run(path) == {"listed": 1, "resumed": 1}
    assert sorted(dataset.by_name()) == ["1.jpg"]


def test_a_list_speaks_of_what_it_named_in_a_run_that_died_after_others_have_run(
    run, images, tmp_path, dataset
):
    path = tmp_path / "list.txt"
    path.write_text("images/a/0.jpg\n")
    run(path)
    path.write_text("images/b/1.jpg\n")
    with dying():
        assert "killed" in run(path, code=1)
    run(images / "b" / "3.png")
    path.write_text("images/a/2.jpg\n")
    run(path)
    assert sorted(dataset.by_name()) == ["2.jpg", "3.png"]


def test_what_was_removed_stays_removed_whichever_encoder_runs_next(
    run, images, tmp_path, small_model_file, small_bundle, dataset
):
    """A run is killed before its clean-up. The next run is of another encoder."""
    run()
    (images / "a" / "0.jpg").unlink()
    with dying("pipeline.runs.commit._clean_up"):
        run(code=1)
    encoder.extract(small_model_file, tmp_path / "second", layer="pool1")
    run(bundle=tmp_path / "second")
    run(images / "b")
    expected = ["1.jpg", "2.jpg", "3.png", "4.png"]
    assert sorted(dataset.by_name(bundle=small_bundle)) == expected
    dataset = open_dataset(tmp_path / "out", read_spec(small_bundle).id)
    assert (
        sorted(os.path.basename(uri) for uri in dataset.to_table()["uri"].to_pylist()) == expected
    )


def test_a_list_that_was_remembered_is_there_when_a_run_commits(run, images, tmp_path, monkeypatch):
    """Another run has committed and cleaned up since this run read the list."""
    from pipeline.runs import commit

    path = tmp_path / "list.txt"
    path.write_text("images/a/0.jpg\n")
    live_lists = commit._live_lists

    def late(*arguments):
        for each in (tmp_path / "out" / "lists").rglob("*.parquet"):
            each.unlink()
        return live_lists(*arguments)

    monkeypatch.setattr("pipeline.runs.commit._live_lists", late)
    assert "start it again" in run(path, code=1)
    monkeypatch.undo()
    run(path)
    assert run(path) == {"listed": 1, "unchanged": 1}


def test_every_rule_has_a_test():
    page = (ROOT / "docs" / "reprocessing.md").read_text()
    named = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", page)
    assert len(named) > 10
    for path, name in named:
        assert f"\ndef {name}(" in (ROOT / path).read_text(), name
