import dataclasses
import json
from collections import Counter

import numpy as np
import pyarrow.dataset as ds
import pytest

import pipeline.runs.commit as commit_module
from pipeline.dataset.layout import final
from pipeline.dataset.manifest import read_manifest, read_record
from pipeline.dataset.parts import read_part
from pipeline.dataset.reader import open_dataset
from pipeline.errors import JobError
from pipeline.options import JobOptions
from pipeline.records import DECODE, Counts, Embedded, Failure, Load, Rewrite
from pipeline.runs.accounting import Outcome
from pipeline.runs.commit import commit
from pipeline.runs.new_job import new_job
from pipeline.runs.snapshot import take_snapshot


@pytest.fixture
def make(tmp_path, small_bundle):
    (tmp_path / "images").mkdir()

    def job(run_id, **options):
        return new_job(
            [str(tmp_path / "images")],
            str(small_bundle),
            str(tmp_path / "out"),
            run_id,
            options=JobOptions(**options),
        )

    return job


def embedded(*numbers):
    vector = np.zeros(16, np.float32)
    return [
        Embedded(
            f"/{n}.jpg", f"v{n}", 1, f"s{n}", 1, 1, False, None, vector, Load("load1", "2 cores")
        )
        for n in numbers
    ]


def failures(*numbers):
    return [Failure(f"/{n}.jpg", f"v{n}", 1, DECODE, "OSError", "bad") for n in numbers]


def outcome(job, written=(), rewritten=(), **counts):
    listed = {job.inputs[0].text: counts.get("listed", 0)}
    total = Counts(Counter(counts), Counter(listed))
    snapshot = snapshot_of(job)
    waiting = [
        part._replace(rows=len(read_part(job.output, part.path))) for part in snapshot.waiting
    ]
    removed = {each.old_path for each in rewritten}
    taken = [part for part in waiting if part.path not in removed]
    return Outcome(snapshot, total, list(written), list(rewritten), taken)


def snapshot_of(job):
    return take_snapshot(job.output, job.spec)


def first_run(make, *numbers):
    job = make("run1")
    part = job.writer.write_embeddings(embedded(*numbers))
    commit(job, outcome(job, [part], listed=len(numbers), new=len(numbers)))
    return part


def by_glob(tmp_path):
    folder = tmp_path / "out" / "embeddings"
    return sorted(ds.dataset(folder).to_table(columns=["uri"])["uri"].to_pylist())


def files(tmp_path):
    return {
        str(p.relative_to(tmp_path / "out")) for p in (tmp_path / "out").rglob("*.*") if p.is_file()
    }


def test_the_record(make, tmp_path):
    job = make("run1")
    written = [
        job.writer.write_embeddings(embedded(1, 2)),
        job.writer.write_failures(failures(3)),
    ]
    record = commit(job, outcome(job, written, listed=3, new=3))
    assert record == read_record(job.output, "run1")
    assert (record["listed"], record["embedded"], record["failed"]) == (3, 2, 1)
    assert record["encoder_loads"] == 1
    assert record["computed_on"] == ["2 cores"]
    assert record["inputs"] == [str(tmp_path / "images")]
    assert set(record) == {
        *("run_id", "encoder_id", "started", "finished", "inputs", "listed", "new", "changed"),
        *("unchanged", "deleted", "embedded", "failed", "resumed", "encoder_loads", "seconds"),
        *("copied", "computed_on", "images_per_second", "renewed", "rows", "repeated", "notes"),
        *("failures_by_reason", "phases", "measures", "versions", "runner", "job_id"),
    }
    assert record["failures_by_reason"] == {"decode OSError": 1}
    assert read_manifest(job.output)[0].runs == {"run1": job.token}
    assert by_glob(tmp_path) == ["/1.jpg", "/2.jpg"]


def test_a_rewrite_replaces_the_old_part(make, tmp_path):
    old = first_run(make, 1, 2, 3)
    job = make("run2")
    new = job.writer.rewrite("embeddings", final(old.path), {"/2.jpg"}, {})
    commit(
        job,
        outcome(
            job, [], [Rewrite(final(old.path), new, Counter())], listed=2, unchanged=2, deleted=1
        ),
    )
    assert by_glob(tmp_path) == ["/1.jpg", "/3.jpg"]
    assert final(old.path) not in files(tmp_path)


def test_parts_of_a_dead_run_become_live(make, tmp_path):
    dead = make("dead").writer.write_embeddings(embedded(1))
    job = make("run2")
    commit(job, outcome(job, listed=1, resumed=1))
    live = read_manifest(job.output)[0].encoders[job.spec.id].parts
    assert [(part.path, part.rows, part.bytes) for part in live] == [
        (final(dead.path), 1, dead.bytes)
    ]
    assert by_glob(tmp_path) == ["/1.jpg"]


def test_debris_is_removed(make, tmp_path):
    first_run(make, 1)
    dead = make("dead")
    dead.writer.write_failures(failures(9))
    folder = tmp_path / "out" / "staging" / "embeddings" / f"encoder={dead.spec.id}" / "run=dead"
    folder.mkdir(parents=True)
    (folder / ".part-x.parquet.0123.tmp").write_bytes(b"half")
    (tmp_path / "out" / "runs" / "dead.json").write_text("{}")
    job = make("run2")
    own_retry = job.writer.write_embeddings(embedded(5))  # an attempt that Beam stopped
    planned = outcome(job, listed=1, unchanged=1)
    snapshot = planned.snapshot._replace(waiting=())  # older than that attempt
    commit(job, dataclasses.replace(planned, snapshot=snapshot, taken=()))
    left = files(tmp_path)
    assert own_retry.path not in left
    assert not [path for path in left if "dead" in path]
    assert not folder.exists()
    assert by_glob(tmp_path) == ["/1.jpg"]


def test_what_a_commit_removed_does_not_come_back(make, tmp_path, monkeypatch):
    """A run is killed between its commit and its clean-up. The next run has other inputs."""
    old = first_run(make, 1, 2)
    job = make("run2")
    new = job.writer.rewrite("embeddings", final(old.path), {"/2.jpg"}, {})
    planned = outcome(job, [], [Rewrite(final(old.path), new, Counter())], listed=1, unchanged=1)
    monkeypatch.setattr("pipeline.runs.commit._clean_up", lambda *_: None)
    commit(job, planned)
    assert final(old.path) in files(tmp_path)
    monkeypatch.undo()
    job = make("run3")
    snapshot = snapshot_of(job)
    assert (snapshot.waiting, snapshot.useless) == ((), (final(old.path),))
    commit(job, outcome(job, listed=1, unchanged=1))
    assert by_glob(tmp_path) == ["/1.jpg"]


def test_files_that_are_not_ours_are_left_alone(make, tmp_path):
    part = first_run(make, 1)
    foreign = (tmp_path / "out" / final(part.path)).with_name("_SUCCESS")
    foreign.touch()
    job = make("run2")
    assert snapshot_of(job).waiting == snapshot_of(job).useless == ()
    commit(job, outcome(job, listed=1, unchanged=1))
    assert foreign.exists()


def test_touched_images_leave_the_count_that_they_were_in(make):
    job = make("run1")
    part = job.writer.write_embeddings(embedded(1, 2))
    touched = Counter(new=1, changed=1)
    record = commit(
        job, outcome(job, [], [Rewrite("old", part, touched)], listed=2, new=1, changed=1)
    )
    assert (record["new"], record["changed"], record["unchanged"]) == (0, 0, 2)


def test_half_a_manifest_is_removed(make, tmp_path):
    first_run(make, 1)
    (tmp_path / "out" / ".manifest.json.0123.tmp").write_bytes(b"{")
    (tmp_path / "out" / ".notes.tmp").touch()
    job = make("run2")
    commit(job, outcome(job, listed=1, unchanged=1))
    assert {path for path in files(tmp_path) if "/" not in path} == {"manifest.json", ".notes.tmp"}


def test_a_loser_leaves_the_record_of_a_run_of_the_same_name(make, monkeypatch):
    """Both pass the first check, then one of them commits."""
    one, other = make("same"), make("same")
    planned = outcome(one, [one.writer.write_embeddings(embedded(1))], listed=1, new=1)
    write = commit_module.write_manifest

    def overtaken(*arguments):
        monkeypatch.setattr("pipeline.runs.commit.write_manifest", write)
        commit(other, planned)
        write(*arguments)

    monkeypatch.setattr("pipeline.runs.commit.write_manifest", overtaken)
    with pytest.raises(JobError, match=r"another run \(same\) committed"):
        commit(one, planned)
    assert read_record(one.output, "same")["embedded"] == 1


def test_parts_that_appear_meanwhile_are_left_alone(make, tmp_path):
    job = make("run1")
    planned = outcome(job, [job.writer.write_embeddings(embedded(1))], listed=1, new=1)
    other = make("other").writer.write_embeddings(embedded(7))
    commit(job, planned)
    assert other.path in files(tmp_path)


def test_a_commit_may_be_repeated(make, tmp_path):
    job = make("run1")
    part = job.writer.write_embeddings(embedded(1))
    planned = outcome(job, [part], listed=1, new=1)
    commit(job, planned)
    before = (tmp_path / "out" / "manifest.json").read_bytes()
    commit(job, planned)
    assert (tmp_path / "out" / "manifest.json").read_bytes() == before
    assert by_glob(tmp_path) == ["/1.jpg"]


def test_the_later_commit_loses_and_keeps_its_parts(make, tmp_path):
    late, early = make("late"), make("early")
    begun = outcome(late, listed=2, new=2)
    plans = {
        job.run_id: dataclasses.replace(
            begun, written=[job.writer.write_embeddings(embedded(1, 2))]
        )
        for job in (late, early)
    }
    planned = plans["late"]
    commit(early, plans["early"])
    with pytest.raises(JobError, match=r"another run \(early\) committed"):
        commit(late, planned)
    assert planned.written[0].path in files(tmp_path)
    assert not (tmp_path / "out" / "runs" / "late.json").exists()
    assert open_dataset(tmp_path / "out").count_rows() == 2


@pytest.mark.parametrize(
    ("options", "counts", "good", "bad", "message"),
    [
        ({}, {"listed": 3, "new": 3}, 1, 1, "3 images were listed but 2 are accounted for"),
        ({}, {"listed": 2, "new": 2}, 0, 2, "2 of 2 images failed.*Reasons: 2 x decode OSError"),
        ({"max_failure_ratio": 1.0}, {"listed": 2, "new": 2}, 0, 2, "2 of 2 images failed"),
        ({"max_failure_ratio": 0.2}, {"listed": 4, "new": 4}, 3, 1, "--max-failure-ratio 0.2"),
        ({}, {}, 0, 0, "no image was found in .*--allow-empty"),
    ],
)
def test_what_is_not_committed(make, tmp_path, options, counts, good, bad, message):
    job = make("run1", **options)
    written = []
    if good:
        written.append(job.writer.write_embeddings(embedded(*range(good))))
    if bad:
        written.append(job.writer.write_failures(failures(*range(10, 10 + bad))))
    with pytest.raises(JobError, match=message):
        commit(job, outcome(job, written, **counts))
    assert not (tmp_path / "out" / "manifest.json").exists()
    assert not (tmp_path / "out" / "runs").exists()


def test_failures_below_the_ratio_are_committed(make):
    job = make("run1", max_failure_ratio=0.25)
    written = [
        job.writer.write_embeddings(embedded(1, 2, 3)),
        job.writer.write_failures(failures(4)),
    ]
    assert commit(job, outcome(job, written, listed=4, new=4))["failed"] == 1


def test_an_input_that_lists_nothing_deletes_nothing(make, tmp_path):
    first_run(make, 1, 2)
    job = make("run2")
    planned = outcome(job, listed=1, unchanged=1, deleted=1)
    planned.counts.listed_by.clear()
    planned.counts.gone_from[job.inputs[0].text] = 1
    with pytest.raises(JobError, match="lists no image, but the output has 1 from there"):
        commit(job, planned)
    assert by_glob(tmp_path) == ["/1.jpg", "/2.jpg"]


def test_a_damaged_manifest_is_named(make, tmp_path):
    first_run(make, 1)
    path = tmp_path / "out" / "manifest.json"
    path.write_text(path.read_text()[:100])
    with pytest.raises(JobError, match=r"out/manifest\.json is damaged"):
        read_manifest(str(tmp_path / "out"))


def test_the_manifest_keeps_other_encoders(make, tmp_path, small_model_file):
    import encoder

    first_run(make, 1)
    encoder.extract(small_model_file, tmp_path / "second", layer="pool1")
    job = new_job([str(tmp_path / "images")], str(tmp_path / "second"), str(tmp_path / "out"))
    assert snapshot_of(job).live == ()
    vector = np.zeros(8, np.float32)
    part = job.writer.write_embeddings(
        [Embedded("/1.jpg", "v", 1, "s", 1, 1, False, None, vector, Load("l", "2 cores"))]
    )
    commit(job, outcome(job, [part], listed=1, new=1))
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_text())
    assert [len(state["embeddings"]) for state in manifest["encoders"].values()] == [1, 1]
    with pytest.raises(encoder.InputError, match="encoder is None; the dataset has"):
        open_dataset(tmp_path / "out")
    assert open_dataset(tmp_path / "out", job.spec.id).to_table().num_rows == 1


def test_what_a_commit_removed_stays_removed_when_another_encoder_commits(
    make, tmp_path, small_model_file, monkeypatch
):
    """The clean-up of a run is killed, and the next run is of another encoder."""
    import encoder

    old = first_run(make, 1, 2)
    job = make("run2")
    new = job.writer.rewrite("embeddings", final(old.path), {"/2.jpg"}, {})
    monkeypatch.setattr("pipeline.runs.commit._clean_up", lambda *_: None)
    commit(job, outcome(job, [], [Rewrite(final(old.path), new, Counter())], listed=1, unchanged=1))
    monkeypatch.undo()
    encoder.extract(small_model_file, tmp_path / "second", layer="pool1")
    other = new_job([str(tmp_path / "images")], str(tmp_path / "second"), str(tmp_path / "out"))
    part = other.writer.write_failures(failures(3))
    commit(other, outcome(other, [part], listed=2, new=1, unchanged=1))
    assert final(old.path) not in files(tmp_path)
    assert snapshot_of(make("run3")).waiting == ()


def test_copies_that_upkeep_left_are_debris(make, tmp_path):
    part = first_run(make, 1)
    folder = tmp_path / "out" / "embeddings" / f"encoder={make('x').spec.id}"
    name = (tmp_path / "out" / final(part.path)).name
    for run in ("compact-1", "repair-1", "dead"):
        (folder / f"run={run}").mkdir()
        (folder / f"run={run}" / name).write_bytes(
            (tmp_path / "out" / final(part.path)).read_bytes()
        )
    snapshot = snapshot_of(make("run2"))
    assert [path.split("/")[2] for path in snapshot.useless] == ["run=compact-1", "run=repair-1"]
    assert [part.path.split("/")[2] for part in snapshot.waiting] == ["run=dead"]


def test_a_run_refuses_an_output_that_has_lost_its_manifest(make, tmp_path):
    """Its parts are somebody's data, and no run may take them for those of a run that died."""
    first_run(make, 1)
    (tmp_path / "out" / "manifest.json").unlink()
    for _ in range(3):
        with pytest.raises(JobError, match=r"has lost its manifest.json; .*verify OUTPUT --repair"):
            make("run2")
    assert by_glob(tmp_path) == ["/1.jpg"]
