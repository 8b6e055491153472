import argparse
import itertools
import json
import os
import shutil
from datetime import datetime, timedelta

import pytest

import encoder
from encoder.errors import InputError
from encoder.spec import read_spec
from encoder.storage.registry import store_for
from pipeline.__main__ import main
from pipeline.dataset.reader import open_dataset
from pipeline.errors import JobError
from pipeline.options import parse_age
from pipeline.upkeep.prune import prune_encoder, prune_runs
from pipeline.upkeep.verify import verify
from tests.conftest import write_image
from tests.support.damage import copy_of, kill_at, manifest_of, run

pytestmark = pytest.mark.slow

MONTH = timedelta(days=30)


@pytest.fixture(scope="module")
def collection(small_bundle, small_model_file, tmp_path_factory):
    """(images, output, first, second): images, and a dataset of two encoders with a list each."""
    base = tmp_path_factory.mktemp("prune")
    images, output = base / "images", base / "out"
    for seed in range(3):
        write_image(images / f"{seed}.png", seed)
    (images / "bad.jpg").write_text("no image")
    (base / "list.txt").write_text("images/0.png\nimages/1.png\n")
    second = base / "second"
    encoder.extract(small_model_file, second, layer="pool1")
    for number, bundle in enumerate((small_bundle, second)):
        run(images, bundle, output, "--run-id", f"run{number}", "--input", base / "list.txt")
    run(images, small_bundle, output, "--run-id", "run2")
    return images, output, small_bundle, second


@pytest.fixture
def output(collection, tmp_path):
    return copy_of(collection[1], tmp_path)


def spec_id(bundle):
    return read_spec(bundle).id


def paths(output):
    return {str(path.relative_to(output)) for path in output.rglob("*") if path.is_file()}


def parts_of(output):
    """The Parquet files, without the logs of changes, which belong to runs."""
    kinds = ("embeddings", "failures")
    return sorted(path for kind in kinds for path in (output / kind).rglob("part-*.parquet"))


def make_old(path, days=40):
    then = path.stat().st_mtime - days * 86400
    os.utime(path, (then, then))


def make_run_old(output, run_id, days=40):
    """Set the start of a run to this time ago."""
    path = output / "runs" / f"{run_id}.json"
    record = json.loads(path.read_text())
    started = datetime.fromisoformat(record["started"]) - timedelta(days=days)
    path.write_text(json.dumps({**record, "started": started.isoformat()}))


def test_an_encoder_goes_with_all_it_has(output, collection, capsys):
    _, _, first, second = collection
    kept = open_dataset(output, spec_id(first)).to_table().sort_by("uri")
    before = paths(output)
    assert main(["prune", str(output), "--encoder", spec_id(second), "--dry-run"]) == 0
    assert paths(output) == before
    said = capsys.readouterr().out
    assert f"would remove encoder {spec_id(second)} with 4 rows: 4 files" in said
    assert main(["prune", str(output), "--encoder", spec_id(second)]) == 0
    assert capsys.readouterr().out == said.replace("would remove", "removed")
    assert list(manifest_of(output)["encoders"]) == [spec_id(first)]
    assert not [path for path in output.rglob("*") if spec_id(second) in path.name]
    assert len(before - paths(output)) == 4  # embeddings, failures, uris of the list, changes
    assert open_dataset(output).to_table().sort_by("uri") == kept
    assert verify(output) == []


def test_left_overs_of_an_encoder_go_with_it(output, collection):
    _, _, first, second = collection
    left = output / "embeddings" / f"encoder={spec_id(second)}" / "run=dead" / "part-0f.parquet"
    left.parent.mkdir()
    left.write_bytes(b"half")
    prune_encoder(output, spec_id(second))
    assert not left.exists()
    left.parent.mkdir(parents=True)  # and a file that was never in a manifest
    left.write_bytes(b"half")
    prune_encoder(output, spec_id(second))
    assert not left.parents[1].exists()
    with pytest.raises(InputError, match=rf"--encoder is '{spec_id(second)}'; the dataset has "):
        prune_encoder(output, spec_id(second))
    assert open_dataset(output, spec_id(first)).count_rows() == 3


def test_the_last_encoder(output, collection):
    images, _, first, second = collection
    for bundle in (first, second):
        prune_encoder(output, spec_id(bundle))
    assert paths(output) == {"manifest.json", *(f"runs/run{n}.json" for n in range(3))}
    with pytest.raises(InputError, match="the dataset has none"):
        open_dataset(output)
    assert run(images, first, output)["embedded"] == 3


@pytest.mark.parametrize(
    "after", [False, pytest.param(True, marks=pytest.mark.long)], ids=["before", "after"]
)
def test_killed_at_any_moment(collection, tmp_path, monkeypatch, after):
    """The next run completes the work, even if it is of another encoder."""
    images, whole, first, second = collection
    victim = spec_id(second)
    for number in itertools.count(1):
        output = copy_of(whole, tmp_path, number)
        killed = kill_at(
            monkeypatch, number, after, lambda output=output: prune_encoder(output, victim)
        )
        known = victim in manifest_of(output)["encoders"]
        assert known == (not after and number < 3)  # before write_if, or before its write
        run(images, first, output)
        assert verify(output) == []
        assert open_dataset(output, spec_id(first)).count_rows() == 3
        files = [path for path in output.rglob("*.parquet") if victim in str(path)]
        assert bool(files) == known
        if not killed:
            break
    assert number > 5


def test_old_runs_are_forgotten_and_their_rows_stay(output, collection, capsys):
    for run_id in ("run0", "run1", "run2"):
        make_run_old(output, run_id)
    before = parts_of(output)
    words = ["prune", str(output), "--runs-older-than", "30d"]
    assert main([*words, "--dry-run"]) == 0
    assert capsys.readouterr().out.startswith("would remove 2 runs: 4 files, ")
    assert list(manifest_of(output)["runs"]) == ["run0", "run1", "run2"]
    assert main(words) == 0
    assert list(manifest_of(output)["runs"]) == ["run2"]  # the last one is kept
    assert [path.name for path in (output / "runs").iterdir()] == ["run2.json"]
    assert parts_of(output) == before
    assert not list((output / "changes").rglob("*.parquet"))  # run2 changed nothing
    assert verify(output) == []
    capsys.readouterr()
    assert main(words) == 0
    assert capsys.readouterr().out == "nothing to do: no run is that old\n"


def test_young_runs_stay(output):
    make_run_old(output, "run0", days=29)
    assert prune_runs(output, MONTH).runs == ()
    make_run_old(output, "run0", days=2)
    assert prune_runs(output, MONTH).runs == ("run0",)


def test_what_dead_runs_left_long_ago(output):
    part = next((output / "embeddings").rglob("*.parquet"))
    left = []
    for name in ("old", "young"):
        folder = part.parents[1] / f"run={name}"
        folder.mkdir()
        left += [folder / part.name, folder / ".part-1.parquet.12.tmp"]
        shutil.copy(part, left[-2])
        left[-1].write_bytes(b"half")
        left.append(output / "runs" / f"{name}.json")
        left[-1].write_text("{}")
    for path in left[:3]:
        make_old(path)
    make_old(part)  # but committed
    found = prune_runs(output, MONTH)
    assert [path.exists() for path in left] == [False] * 3 + [True] * 3
    assert len(found.files) == 3
    assert part.exists()
    assert not left[0].parent.exists()


def test_a_run_that_took_over_what_is_pruned_wins(output, collection, monkeypatch):
    """It may have committed the parts that prune is about to remove."""
    from pipeline.dataset.files import make_live

    images, _, first, _ = collection
    part = next((output / "embeddings" / f"encoder={spec_id(first)}").rglob("*.parquet"))
    left = part.parents[1] / "run=dead" / part.name
    left.parent.mkdir()
    shutil.copy(part, left)
    make_old(left)

    def late(*arguments):
        run(images, first, output, "--run-id", "early")
        make_live(*arguments)

    monkeypatch.setattr("pipeline.upkeep.prune.make_live", late)
    with pytest.raises(JobError, match=r"another run \(early\) .*prune worked, so nothing was"):
        prune_runs(output, MONTH)
    assert verify(output) == []
    assert open_dataset(output, spec_id(first)).count_rows() == 3


def test_in_a_bucket(bucket, collection):
    images, _, first, second = collection
    output = f"{bucket}/out"
    for bundle in (first, second):
        words = ["run", "--input", images, "--encoder", bundle, "--output", output]
        assert main([str(word) for word in words]) == 0
    assert main(["prune", output, "--encoder", spec_id(second)]) == 0
    assert open_dataset(output).count_rows() == 3
    assert not [i for i in store_for(output).list_files(output) if spec_id(second) in i.path]
    assert main(["prune", output, "--runs-older-than", "1d"]) == 0
    assert verify(output) == []


@pytest.mark.parametrize("wrong", [" ", "../x", "9FA23A2C560B6581", "all"])
def test_ids_that_are_none(output, capsys, wrong):
    before = paths(output)
    assert main(["prune", str(output), "--encoder", wrong]) == 2
    assert f"--encoder is {wrong!r}; expected 16 of the digits" in capsys.readouterr().err
    assert paths(output) == before


def test_wrong_command_lines(output, capsys):
    for words in ([], ["--encoder", "x", "--runs-older-than", "1d"], ["--runs-older-than", "soon"]):
        with pytest.raises(SystemExit) as stop:
            main(["prune", str(output), *words])
        assert stop.value.code == 2
    assert "expected such as 30d" in capsys.readouterr().err
    assert main(["prune", str(output), "--encoder", "x"]) == 2
    assert len(parts_of(output)) == 4


@pytest.mark.parametrize(("text", "hours"), [("30d", 720), ("12h", 12), ("2w", 336), ("1 D", 24)])
def test_ages(text, hours):
    assert parse_age(text) == timedelta(hours=hours)


@pytest.mark.parametrize("text", ["", "30", "d", "-1d", "1y", "9999999999999d"])
def test_what_is_no_age(text):
    with pytest.raises(argparse.ArgumentTypeError, match="expected such as 30d"):
        parse_age(text)
