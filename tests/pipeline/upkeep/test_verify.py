"""Every kind of damage is found and named; --repair and the next run restore every row."""

import itertools
import json
import re
import shutil

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from encoder.errors import InputError
from pipeline.__main__ import main
from pipeline.dataset.reader import open_dataset
from pipeline.errors import JobError
from pipeline.upkeep.repair import repair
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


def truncate(output):
    part = parts(output)[0]
    part.write_bytes(part.read_bytes()[:100])


def delete(output):
    parts(output)[0].unlink()


def flip(output):
    flip_a_bit_of_a_vector(parts(output)[0])


def flip_in_the_footer(output):
    part = parts(output)[0]
    data = bytearray(part.read_bytes())
    data[-1000] ^= 1
    part.write_bytes(data)


def wrong_bytes(output):
    edit_manifest(output, lambda values: entries(values)[0].update(bytes=7))


def wrong_bytes_of_a_part_without_checksum(output):
    """Only the bytes differ from those that the manifest states."""
    edit_manifest(output, lambda values: entries(values)[0].update(bytes=7, crc32c=""))


def wrong_rows(output):
    edit_manifest(output, lambda values: entries(values)[0].update(rows=7))


def wrong_path(output):
    edit_manifest(output, lambda values: entries(values)[0].update(path="../images/0.png"))


def changed_table(output, change, number=0, kind="embeddings"):
    part = parts(output, kind)[number]
    replace_part(output, part, change(pq.read_table(part, partitioning=None)))


def with_vectors(table, vectors):
    vectors = np.asarray(vectors, np.float32)
    column = pa.FixedSizeListArray.from_arrays(vectors.reshape(-1), vectors.shape[1])
    return table.set_column(1, table.schema.field(1), column)


def not_a_number(output):
    def change(table):
        vectors = np.array(table["embedding"].to_pylist(), np.float32)
        vectors[1, 3] = np.nan
        return with_vectors(table, vectors)

    changed_table(output, change)


def no_value(output):
    def change(table):
        values = table["embedding"].to_pylist()
        values[1][3] = None
        return table.set_column(1, table.schema.field(1), pa.array(values, table.schema.types[1]))

    changed_table(output, change)


def other_dimension(output):
    def change(table):
        field = table.schema.field(1).with_type(pa.list_(pa.float32(), 8))
        vectors = pa.array([row[:8] for row in table["embedding"].to_pylist()], field.type)
        return table.set_column(1, field, vectors)

    changed_table(output, change)


def nullable(output):
    def change(table):
        schema = table.schema.set(6, pa.field("sha256", pa.string()))
        return pa.table([*table.columns[:6], [None] * len(table)], schema=schema)

    changed_table(output, change)


def other_spec(output):
    def change(table):
        text = table.schema.metadata[b"encoder"].replace(b'"unit"', b'"tf"')
        return table.replace_schema_metadata({b"encoder": text})

    changed_table(output, change)


def no_spec(output):
    changed_table(output, lambda table: table.replace_schema_metadata(None))


def further_column(output):
    def change(table):
        return table.append_column("label", pa.array(["x"] * len(table)))

    changed_table(output, change, number=2)


def column_of_another_type(output):
    further_column(output)

    def change(table):
        return table.append_column("label", pa.array([1] * len(table)))

    changed_table(output, change, number=1)


def same_part_twice(output):
    part = parts(output)[0]
    shutil.copy(part, part.with_name("part-0123456789ab.parquet"))

    def change(values):
        entry = dict(entries(values)[0])
        entry["path"] = entry["path"].rpartition("/")[0] + "/part-0123456789ab.parquet"
        entries(values).append(entry)

    edit_manifest(output, change)


def older_rows_in_a_newer_part(output):
    """The newest part also has a row of another part, and one of its own rows twice."""
    rows = pq.read_table(parts(output)[0], partitioning=None)
    changed_table(output, lambda table: pa.concat_tables([table, rows[:1], table[:1]]), number=2)


def failure_of_an_embedded_image(output):
    uri = pq.read_table(parts(output)[0], columns=["uri"])["uri"][0].as_py()

    def change(table):
        return table.set_column(0, table.schema.field(0), [[uri] * len(table)])

    changed_table(output, change, kind="failures")


def no_manifest(output):
    (output / "manifest.json").unlink()


def cut_manifest(output):
    path = output / "manifest.json"
    path.write_text(path.read_text()[:300])


def manifest_of_another_kind(output):
    (output / "manifest.json").write_text('{"format": "image-embeddings/9"}')


def manifest_that_is_no_object(output):
    (output / "manifest.json").write_text("[]")


def cut_log_of_changes(output):
    (log, *_) = (output / "changes").rglob("run=run1/*.parquet")
    log.write_bytes(log.read_bytes()[:100])


def no_record(output):
    (output / "runs" / "run1.json").unlink()


def cut_record(output):
    (output / "runs" / "run1.json").write_text('{"run_id": "run1", "lis')


def record_of_another_run(output):
    shutil.copy(output / "runs" / "run0.json", output / "runs" / "run1.json")


def record_that_does_not_add_up(output):
    path = output / "runs" / "run1.json"
    values = json.loads(path.read_text())
    path.write_text(json.dumps({**values, "unchanged": 1}))


PART = r"^embeddings/encoder=\w+/run=run0/part-\w+\.parquet: "
DAMAGES = [
    (truncate, PART + r"has 100 bytes; expected .*--repair: taken out; its images are embedded"),
    (delete, PART + r"is missing; expected the file that manifest.json names"),
    (flip, PART + r"has the checksum \w{8}; expected \w{8}, as manifest.json says"),
    (flip_in_the_footer, PART + r"has the checksum \w{8}; expected \w{8}"),
    (wrong_bytes, PART + r"manifest.json says 7 bytes; expected [\d,]+, as in the file"),
    (wrong_bytes_of_a_part_without_checksum, PART + r"has [\d,]+ bytes; expected 7, as manifest"),
    (wrong_rows, PART + r"manifest.json says 7 rows; expected 2, as in the file"),
    (wrong_path, r"^manifest\.json: encoders\['\w+'\]\.embeddings names '\.\./images/0\.png'; exp"),
    (not_a_number, PART + r"1 vector with NaN or infinite values, such as that of /.*/1\.png; "),
    (no_value, PART + r"1 vector with NaN or infinite values"),
    (other_dimension, PART + r"has the columns uri .*\[8\].*; expected uri .*\[16\]"),
    (nullable, PART + r"has the columns .* sha256 string; expected .* sha256 string not null"),
    (other_spec, PART + r"holds the encoder spec that of encoder \w+; expected"),
    (no_spec, PART + r"holds the encoder spec none; expected that of encoder \w+"),
    (further_column, PART + r"carries the columns none; expected label string"),
    (column_of_another_type, r"run=run2/.*: carries the columns label string; expected label int"),
    (same_part_twice, r"embeddings/encoder=\w+: 2 uris with more than one row, such as /.* in e"),
    (older_rows_in_a_newer_part, r"2 uris with more than one row, such as .*expected one row per"),
    (
        failure_of_an_embedded_image,
        r"1 uri with more than one row, such as /.*/0.png in emb",
    ),
    (no_manifest, r"^manifest\.json: is missing; .*rebuilt from 6 parts and 3 run records"),
    (cut_manifest, r"^manifest\.json: is damaged \(.*rebuilt from 6 parts and 3 run records"),
    (manifest_of_another_kind, r"^manifest\.json: is damaged \(format 'image-embeddings/9', exp"),
    (manifest_that_is_no_object, r"^manifest\.json: is damaged \("),
    (cut_log_of_changes, r"^changes/encoder=\w+/run=run1/part-\w+\.parquet: can't be read \("),
    (no_record, r"^runs/run1\.json: is missing; expected the record of a committed run"),
    (cut_record, r"^runs/run1\.json: can't be read \(is no JSON"),
    (record_of_another_run, r"^runs/run1\.json: is the record of run run0; expected that of run1"),
    (record_that_does_not_add_up, r"^runs/run1\.json: listed is 6, but .* is 1 \+ 0 \+ 2 \+ 1; "),
]


def test_a_dataset_that_is_whole(output, capsys):
    assert verify(output) == []
    before = {path: path.stat().st_mtime_ns for path in output.rglob("*")}
    assert main(["verify", str(output)]) == 0
    assert main(["verify", str(output), "--repair"]) == 0
    assert capsys.readouterr().out == f"{output} is whole\n" * 2
    assert {path: path.stat().st_mtime_ns for path in output.rglob("*")} == before


@pytest.mark.parametrize(("damage", "message"), DAMAGES, ids=[d.__name__ for d, _ in DAMAGES])
def test_damage_is_named_and_repaired(
    collection, output, small_bundle, capsys, tmp_path, damage, message
):
    images, whole = collection
    damage(output)
    capsys.readouterr()
    assert main(["verify", str(output)]) == 1
    found, last = capsys.readouterr().out.rstrip().rsplit("\n", 1)
    assert any(re.search(message, line) for line in found.split("\n")), found
    assert last.endswith("--repair does what is said above")
    before = (output / "manifest.json").exists() and manifest_text(output)
    assert main(["verify", str(output), "--repair", "--dry-run"]) == 1
    assert ((output / "manifest.json").exists() and manifest_text(output)) == before
    capsys.readouterr()
    assert main(["verify", str(output), "--repair"]) == 0
    assert capsys.readouterr().out.startswith(found)
    assert [str(finding) for finding in verify(output) if not finding.note] == []
    check_run_brings_all_back(images, whole, output, small_bundle)


def check_run_brings_all_back(images, whole, output, bundle):
    run(images, bundle, output)
    names = slice(0, 7)  # without the columns of the damaged part
    assert table_of(output)[names] == table_of(whole)[names]
    assert by_glob(output, "failures") == by_glob(whole, "failures")
    assert verify(output) == []


def table_of(output):
    table = open_dataset(output).to_table().sort_by("uri")
    assert len(by_glob(output)) == len(table)
    return [table.column(n).to_pylist() for n in range(table.num_columns)]


def manifest_text(output):
    return (output / "manifest.json").read_text()


KILLED = [flip, not_a_number, same_part_twice, older_rows_in_a_newer_part, cut_manifest]


@pytest.mark.parametrize("damage", KILLED, ids=[each.__name__ for each in KILLED])
def test_a_repair_may_be_killed_at_any_moment(
    collection, tmp_path, small_bundle, monkeypatch, damage
):
    images, whole = collection
    damaged = copy_of(whole, tmp_path)
    damage(damaged)
    if damage is cut_manifest:  # with rows that occur twice
        same_part_twice(copy := copy_of(whole, tmp_path, "more"))
        shutil.copytree(copy / "embeddings", damaged / "embeddings", dirs_exist_ok=True)
    for number in itertools.count(2):
        output = copy_of(damaged, tmp_path, number)
        after = bool(number % 2)
        killed = kill_at(monkeypatch, number // 2, after, lambda output=output: repair(output))
        repair(output)
        assert not [each for each in verify(output) if not each.note]
        if not killed:
            break
    assert number > 4
    check_run_brings_all_back(images, whole, output, small_bundle)


def test_after_a_repair_that_was_killed_a_run_goes_on(
    collection, output, small_bundle, monkeypatch
):
    """Before it writes the manifest, its parts do not count. Afterwards they all do."""
    images, whole = collection
    not_a_number(output)
    assert kill_at(monkeypatch, 2, False, lambda: repair(output))  # one part had been written
    (note,) = verify(output)[1:]
    assert str(note).startswith("note: staging/embeddings/encoder=")
    assert "1 file (" in str(note)
    run(images, small_bundle, output)
    assert verify(output)[1:] == []
    assert not list(output.rglob("run=repair-*"))
    repair(output)
    check_run_brings_all_back(images, whole, output, small_bundle)


def test_everything_lost_but_the_files(collection, tmp_path, small_bundle):
    """The manifest is lost after changes, a compaction and a dead run: the newest rows win."""
    images, output = tmp_path / "img", tmp_path / "out"
    for seed in range(4):
        write_image(images / f"{seed}.png", seed)
    run(images, small_bundle, output, "--run-id", "z-is-first")
    write_image(images / "1.png", 50)
    run(images, small_bundle, output, "--run-id", "a-is-second")
    assert main(["compact", str(output)]) == 0
    old = copy_of(output, tmp_path, "old")
    write_image(images / "2.png", 51)
    run(images, small_bundle, output, "--run-id", "0-is-third")
    expected = by_glob(output)
    # The parts that were live before, as if a clean-up had been killed.
    shutil.copytree(old / "embeddings", output / "embeddings", dirs_exist_ok=True)
    no_manifest(output)
    found = [str(each) for each in repair(output)]
    assert len(found) == 2
    assert "4 uris with more than one row" in found[1]
    assert by_glob(output) == expected
    assert list(manifest_of(output)["runs"]) == ["z-is-first", "a-is-second", "0-is-third"]
    assert run(images, small_bundle, output)["unchanged"] == 4
    assert verify(output) == []


def test_lists_are_checked_and_remembered(tmp_path, small_bundle, capsys):
    images, output = tmp_path / "img", tmp_path / "out"
    for seed in range(3):
        write_image(images / f"{seed}.png", seed)
    listing = tmp_path / "list.txt"
    listing.write_text("img/0.png\nimg/1.png\nimg/2.png\n")
    run(listing, small_bundle, output)
    assert verify(output) == []
    no_manifest(output)
    repair(output)
    listing.write_text("img/0.png\nimg/1.png\n")
    assert run(listing, small_bundle, output)["deleted"] == 1  # the list is known
    (uris,) = (output / "lists").rglob("*.parquet")
    uris.write_bytes(b"PAR1 and no more")
    (finding,) = verify(output)
    assert "can't be read" in str(finding)
    assert f"expected the uris that {listing} named" in str(finding)
    repair(output)
    assert verify(output) == []
    uris.unlink(missing_ok=True)
    assert run(listing, small_bundle, output)["unchanged"] == 2
    (uris,) = (output / "lists").rglob("*.parquet")
    uris.unlink()
    (finding,) = verify(output)
    assert ": is missing; expected the uris that" in str(finding)


def test_files_of_dead_runs_are_notes(collection, output, small_bundle, capsys):
    part = parts(output)[0]
    dead = part.parents[1] / "run=dead"
    dead.mkdir()
    shutil.copy(part, dead / part.name)
    (dead / ".part-1.parquet.1234.tmp").write_bytes(b"half")
    (output / "runs" / "dead.json").write_text("{}")
    assert main(["verify", str(output)]) == 0
    out = capsys.readouterr().out
    assert "run=dead: 2 files (" in out
    assert "note: runs: 1 file (2 B) that the manifest does not name" in out
    run(collection[0], small_bundle, output)
    assert verify(output) == []


def test_nothing_outside_the_dataset_is_touched(output, collection):
    """A damaged manifest may name any path."""
    victim = output.parent / "images" / "0.png"
    write_image(victim, 1)
    wrong_path(output)
    edit_manifest(output, lambda values: values["removed"].append("../images/0.png"))
    edit_manifest(output, lambda values: values["runs"].update({"../../images/0": "x"}))
    repair(output)
    assert victim.exists()
    assert verify(output) == []


def test_a_commit_meanwhile(output, collection, small_bundle, monkeypatch):
    from pipeline.upkeep.checks import check_duplicates

    def late(*arguments):
        run(collection[0], small_bundle, output)
        return check_duplicates(*arguments)

    monkeypatch.setattr("pipeline.upkeep.verify.check_duplicates", late)
    with pytest.raises(JobError, match="has changed the output while it was checked"):
        verify(output)


def test_a_commit_between_check_and_repair(output, collection, small_bundle, monkeypatch):
    from pipeline.dataset.files import make_live

    def late(*arguments):
        run(collection[0], small_bundle, output, "--run-id", "early")
        make_live(*arguments)

    no_record(output)
    monkeypatch.setattr("pipeline.upkeep.repair.make_live", late)
    with pytest.raises(JobError, match=r"another run \(early\) .*repair worked, so nothing was"):
        repair(output)


def test_what_is_no_dataset(tmp_path, capsys):
    with pytest.raises(InputError, match="is not a dataset"):
        verify(tmp_path)
    assert main(["verify", str(tmp_path), "--dry-run"]) == 2
    assert main(["verify", str(tmp_path), "--no-such-option"]) == 2
    assert "unknown option '--no-such-option'" in capsys.readouterr().err


def test_in_a_bucket(bucket, small_bundle, tmp_path):
    from encoder.storage.registry import store_for

    images, output = tmp_path / "images", f"{bucket}/out"
    for seed in range(3):
        write_image(images / f"{seed}.png", seed)
    words = ["run", "--input", images, "--encoder", small_bundle, "--output", output]
    assert main([str(word) for word in words]) == 0
    assert verify(output) == []
    store = store_for(output)
    store.delete(f"{output}/manifest.json")
    assert main(["verify", output]) == 1
    assert main(["verify", output, "--repair"]) == 0
    assert open_dataset(output).count_rows() == 3
    (part,) = (i.path for i in store.list_files(output) if "/embeddings/" in i.path)
    store.write(part, b"PAR1 and no more")
    assert main(["verify", output, "--repair"]) == 0
    assert verify(output) == []
    assert main([str(word) for word in words]) == 0
    assert open_dataset(output).count_rows() == 3
    assert verify(output) == []
