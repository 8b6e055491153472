import argparse
import itertools
import threading

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import pipeline.upkeep.compact
from encoder.errors import InputError
from encoder.spec import read_spec
from pipeline.__main__ import main
from pipeline.dataset.part_files import PartStream
from pipeline.dataset.reader import open_dataset
from pipeline.dataset.schema import schema_of
from pipeline.errors import JobError
from pipeline.options import parse_size
from pipeline.runs.commit import commit
from pipeline.upkeep.compact import compact
from pipeline.upkeep.verify import verify
from tests.conftest import write_image
from tests.support.damage import (
    by_glob,
    copy_of,
    edit_manifest,
    entries,
    flip_a_bit_of_a_vector,
    kill_at,
    manifest_of,
    parts,
    replace_part,
    run,
)

pytestmark = pytest.mark.slow


def test_rows_stay_and_parts_become_one(output):
    before = {kind: by_glob(output, kind) for kind in ("embeddings", "failures")}
    old = parts(output)
    assert len(old) == 3
    schema = pq.read_schema(old[0])
    found = compact(output)
    assert [(each.kind, each.merged, len(each.groups)) for each in found] == [
        ("embeddings", 3, 1),
        ("failures", 3, 1),
    ]
    assert {kind: by_glob(output, kind) for kind in before} == before
    assert not any(path.parent.exists() for path in old)
    (new,) = parts(output)
    file = pq.ParquetFile(new)
    assert file.schema_arrow.equals(schema, check_metadata=True)
    column = file.metadata.row_group(0).column(1)
    assert (column.compression, "BYTE_STREAM_SPLIT" in column.encodings) == ("ZSTD", True)
    assert verify(output) == []
    assert compact(output) == []


def test_the_next_run_finds_nothing_to_do(output, collection, small_bundle):
    compact(output)
    before = sorted(output.rglob("*.parquet"))
    counts = run(collection[0], small_bundle, output)
    assert (counts["listed"], counts["unchanged"], counts["encoder_loads"]) == (9, 9, 0)
    assert sorted(output.rglob("*.parquet")) == before


def test_the_target_size_bounds_the_parts(output):
    size = parts(output)[0].stat().st_size
    (embeddings, *_) = compact(output, target_size=int(2.5 * size))
    assert [len(group) for group in embeddings.groups] == [2]
    assert len(parts(output)) == 2
    assert compact(output, target_size=size // 2) == []


def test_a_dry_run_changes_nothing(output, capsys):
    before = {path: path.stat().st_mtime_ns for path in output.rglob("*")}
    assert main(["compact", str(output), "--dry-run"]) == 0
    assert "3 of 3 parts" in capsys.readouterr().out
    assert {path: path.stat().st_mtime_ns for path in output.rglob("*")} == before


def test_what_it_says(output, capsys):
    assert main(["compact", str(output), "--target-size", "1GiB"]) == 0
    assert "merged into 1" in capsys.readouterr().out
    assert main(["compact", str(output)]) == 0
    assert capsys.readouterr().out.startswith("nothing to do: no two parts fit")


@pytest.mark.long
@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_killed_at_any_moment(collection, tmp_path, small_bundle, monkeypatch, after):
    """Readers see all rows. The next run or compaction removes all other files."""
    images, whole = collection
    expected = by_glob(whole)
    for number in itertools.count(1):
        output = copy_of(whole, tmp_path, number)
        killed = kill_at(monkeypatch, number, after, lambda output=output: compact(output))
        assert open_dataset(output).count_rows() == 6
        if number % 2:
            compact(output)
        counts = run(images, small_bundle, output)
        assert (counts["unchanged"], counts["embedded"], counts["resumed"]) == (9, 0, 0)
        assert by_glob(output) == expected
        assert len(by_glob(output, "failures")) == 3
        assert verify(output) == []  # there is no other file
        if not killed:
            break
    assert number > 8  # two parts, the manifest and its write, six removals


def test_a_full_disk(output, monkeypatch):
    before = by_glob(output)

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="No space"):
        compact(output)
    monkeypatch.undo()
    assert by_glob(output) == before
    assert verify(output) == []


def test_a_run_that_commits_meanwhile_wins(output, collection, small_bundle, monkeypatch):
    live = pipeline.upkeep.compact.make_live

    def late(*arguments):
        run(collection[0], small_bundle, output, "--run-id", "early")
        live(*arguments)

    before = by_glob(output)
    monkeypatch.setattr("pipeline.upkeep.compact.make_live", late)
    with pytest.raises(JobError, match=r"another run \(early\) .* nothing is lost"):
        compact(output)
    monkeypatch.undo()
    assert by_glob(output) == before
    assert verify(output) == []


def test_of_two_compactions_the_later_loses(output, monkeypatch):
    live = pipeline.upkeep.compact.make_live

    def late(*arguments):
        monkeypatch.undo()
        compact(output)
        live(*arguments)

    before = by_glob(output)
    monkeypatch.setattr("pipeline.upkeep.compact.make_live", late)
    with pytest.raises(JobError, match=r"another command \(compact\) committed"):
        compact(output)
    assert by_glob(output) == before
    assert verify(output) == []


def test_a_run_loses_to_a_compaction_and_keeps_its_work(
    output, small_bundle, tmp_path, monkeypatch, capsys
):
    images = tmp_path / "more"
    write_image(images / "new.png", 99)

    def late(*arguments):
        compact(output)
        return commit(*arguments)

    monkeypatch.setattr("pipeline.steps.commit.commit", late)
    words = ["run", "--input", images, "--encoder", small_bundle, "--output", output]
    assert main([str(word) for word in words]) == 1
    assert "another command (compact) committed to this output" in capsys.readouterr().err
    monkeypatch.undo()
    assert run(images, small_bundle, output)["resumed"] == 1
    assert len(by_glob(output)) == 7
    assert verify(output) == []


def test_readers_see_one_state_all_the_time(collection, tmp_path):
    output = copy_of(collection[1], tmp_path)
    stop = threading.Event()
    seen, errors = [], []

    def read():
        while not stop.is_set():
            try:
                seen.append(sorted(open_dataset(output).to_table()["uri"].to_pylist()))
            except FileNotFoundError:
                continue  # as documented: open the dataset again
            except Exception as error:
                errors.append(error)

    reader = threading.Thread(target=read)
    reader.start()
    size = parts(output)[0].stat().st_size
    for factor in (2.5, 4, 10):
        compact(output, int(size * factor))
    stop.set()
    reader.join()
    assert errors == []
    assert len(seen) > 1
    assert all(uris == seen[0] and len(uris) == 6 for uris in seen)


def test_damaged_parts_are_named_and_nothing_changes(output):
    part = parts(output)[1]
    flip_a_bit_of_a_vector(part)
    before = manifest_of(output)
    with pytest.raises(JobError, match=rf"{part.name} in the output can't be read"):
        compact(output)
    assert manifest_of(output) == before
    assert not list(output.rglob("run=compact-*"))


def test_parts_with_other_columns_are_not_merged(output):
    part = parts(output)[2]
    table = pq.read_table(part, partitioning=None)
    replace_part(output, part, table.append_column("label", [["x"] * len(table)]))
    with pytest.raises(JobError, match=r"has other columns than the other parts; see .*verify"):
        compact(output)


def test_parts_with_other_rows_are_not_merged(output):
    values = manifest_of(output)
    entries(values)[0]["rows"] += 1
    edit_manifest(output, lambda found: found.update(values))
    with pytest.raises(JobError, match=r"has 2 rows, not 3"):
        compact(output)


def test_row_groups_are_bounded(small_bundle, tmp_path):
    spec = read_spec(small_bundle)
    schema = schema_of("failures", spec)
    stream = PartStream("failures", schema)
    for start in range(0, 40_000, 4_000):
        rows = [
            {"uri": f"/{n}", "version": "v", "bytes": 1, "stage": "s", "error": "e", "message": "m"}
            for n in range(start, start + 4_000)
        ]
        stream.add(pa.Table.from_pylist(rows, schema=schema))
    part = stream.write(str(tmp_path), spec.id, "compact-1")
    metadata = pq.read_metadata(tmp_path / part.path)
    groups = [metadata.row_group(n).num_rows for n in range(metadata.num_row_groups)]
    assert groups == [20_000, 20_000]
    assert part.rows == 40_000


def test_in_a_bucket(bucket, small_bundle, tmp_path):
    images = tmp_path / "images"
    output = f"{bucket}/out"
    for seed in range(3):
        write_image(images / f"{seed}.png", seed)
        words = ["run", "--input", images, "--encoder", small_bundle, "--output", output]
        assert main([str(word) for word in words]) == 0
    before = open_dataset(output).to_table().sort_by("uri")
    assert main(["compact", output]) == 0
    after = open_dataset(output)
    assert len(after.files) == 1
    np.testing.assert_array_equal(
        after.to_table().sort_by("uri")["embedding"].to_pylist(), before["embedding"].to_pylist()
    )
    assert verify(output) == []


def test_what_is_no_dataset(tmp_path):
    with pytest.raises(InputError, match=r"is not a dataset"):
        compact(tmp_path)


def test_names_of_copies_are_not_for_runs(collection, small_bundle, capsys):
    images, output = collection
    words = ["run", "--input", images, "--encoder", small_bundle, "--output", output]
    assert main([*map(str, words), "--run-id", "compact-1"]) == 2
    assert "--run-id 'compact-1'" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "size"),
    [("1", 1), ("128MiB", 128 << 20), ("1.5 G", 3 << 29), ("2kb", 2048), ("7B", 7)],
)
def test_sizes(text, size):
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "0", "-1", "big", "1 XB", "MiB"])
def test_what_is_no_size(text):
    with pytest.raises(argparse.ArgumentTypeError, match="expected such as 128MiB"):
        parse_size(text)
