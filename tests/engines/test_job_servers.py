"""Whole runs on Flink and on Spark: the same rows and vectors as in process, also after kills."""

import pytest

import encoder
from encoder.storage.registry import store_for
from pipeline.dataset.reader import open_dataset
from tests.conftest import write_image
from tests.engines.conftest import KEPT, Run, on, vectors
from tests.engines.job_servers import FLINK, job_server
from tests.support.dataset import by_uri
from tests.support.packed import picture, tar

pytestmark = pytest.mark.slow
MANY = 3000  # images, so that a run can be killed in the middle


@pytest.fixture
def many(tmp_path):
    for n in range(MANY):
        write_image(tmp_path / "many" / f"{n:04}.png", n, (32, 32))
    return tmp_path / "many"


def test_the_rows_are_those_of_a_run_in_process(server, pool, images, dataset, reference):
    (images / "a" / "bad.png").write_bytes(b"no image")
    options = on(server, pool, KEPT)
    assert dataset.run(images, options=options) == {
        "listed": 6,
        "new": 6,
        "embedded": 5,
        "failed": 1,
    }
    assert dataset.record()["encoder_loads"] == 1
    reference.run(images)
    assert vectors(dataset) == vectors(reference)
    assert dataset.rows("failures") == reference.rows("failures")
    before = dataset.runs()
    assert dataset.run(images, options=options) == {"listed": 6, "unchanged": 6}
    assert dataset.runs() == before


@pytest.mark.long
def test_changes_plans_lists_and_archives(
    server, pool, images, tmp_path, dataset, reference, capsys
):
    packed = [(f"{n}.png", picture(n)) for n in range(10)]
    tar(images / "packed.tar", packed)
    for n in range(4):
        write_image(tmp_path / "listed" / f"{n}.png", 100 + n)
    lines = [f"{tmp_path}/listed/{n}.png,label{n}\n" for n in range(4)]
    (tmp_path / "list.csv").write_text("".join(["uri,label\n", *lines]))
    inputs, common = [images, tmp_path / "list.csv"], ["--allow-deletes", "--keep=label"]
    options = on(server, pool, KEPT, *common)
    for each, more in ((dataset, options), (reference, common)):
        assert each.run(*inputs, options=more)["embedded"] == 19
    assert vectors(dataset) == vectors(reference)
    # Images change, come and go: alone, in the archive, in the list.
    write_image(images / "a" / "0.jpg", 50)
    write_image(images / "c" / "new.jpg", 51)
    (images / "b" / "1.jpg").unlink()
    tar(images / "packed.tar", [*packed[1:], ("0.png", picture(60))])
    (tmp_path / "list.csv").write_text("".join(["uri,label\n", *lines[:3]]))
    planned = dataset.job(*inputs, options=options, command="plan")
    assert planned.code == 0, planned.err
    assert planned.out == reference.job(*inputs, command="plan", options=common).out
    counts = dataset.run(*inputs, options=options)
    assert counts == reference.run(*inputs, options=common)
    assert counts["deleted"] == 2
    assert vectors(dataset) == vectors(reference)
    labels = [row["label"] for uri, row in dataset.rows().items() if uri.startswith("listed/")]
    assert sorted(labels) == ["label0", "label1", "label2"]
    # An error in a worker is reported as one line.
    for path in images.rglob("*.*"):
        path.unlink()
    refused = dataset.run(images, options=on(server, pool, KEPT), code=1)
    assert refused.startswith("error: no image was found in")
    assert refused.count("\n") == 1


@pytest.mark.long
def test_each_image_of_a_bucket_is_read_once(
    server, tmp_path, gcs, request, images, small_model_file, reference, dataset
):
    pool = request.getfixturevalue("pool")  # after gcs, whose address its workers get
    encoder.extract(small_model_file, "gs://bucket/bundle", preprocess="unit")
    for n in range(40):
        path = write_image(tmp_path / "new" / f"{n}.png", n)
        store_for("gs://bucket").write(f"gs://bucket/photos/{n}.png", path.read_bytes())
    words = ["--input", "gs://bucket/photos", "--encoder", "gs://bucket/bundle"]
    words += ["--output", "gs://bucket/dataset", *on(server, pool, KEPT)]
    ran = dataset.shell("run", *words)
    assert ran.code == 0, ran.err
    reads = [each.name for each in gcs.requests if each.kind == "read" and "photos" in each.name]
    assert sorted(reads) == sorted(f"photos/{n}.png" for n in range(40))
    reference.run(tmp_path / "new")
    expected = {name: row["embedding"] for name, row in reference.by_name().items()}
    found = by_uri(open_dataset("gs://bucket/dataset").to_table())
    assert {uri.rpartition("/")[2]: row["embedding"] for uri, row in found.items()} == expected
    ran = dataset.shell("run", *words)
    assert "nothing to do" in ran.out


@pytest.mark.long
def test_a_worker_is_killed(server, pool, many, dataset, reference):
    options = on(server, pool, KEPT)
    run = Run(dataset, many, options)
    run.wait_for_parts(2)
    pool.kill_workers()
    code, out, err = run.finish()
    assert (code, out) == (1, "")
    assert err.startswith("error: a worker process has ended, or the connection to it broke (")
    assert err.count("\n") == 1
    counts = dataset.run(many, options=options)
    assert counts["resumed"] > 0
    assert counts["resumed"] + counts["embedded"] == MANY
    reference.run(many)
    assert vectors(dataset) == vectors(reference)


@pytest.mark.long
def test_the_job_server_is_killed(engine, pool, many, tmp_path, dataset, reference):
    with job_server(engine, tmp_path / "first") as server:
        run = Run(dataset, many, on(server, pool, KEPT))
        run.wait_for_parts(2)
        server.process.kill()
        code, out, err = run.finish()
    assert (code, out) == (1, "")
    assert err == (
        "error: the job service has ended, or the connection to it broke (UNAVAILABLE). What was "
        "finished is not lost: start the service, and then the job again\n"
    )
    with job_server(engine, tmp_path / "second") as server:
        counts = dataset.run(many, options=on(server, pool, KEPT))
    assert counts["resumed"] > 0
    assert counts["resumed"] + counts["embedded"] == MANY
    reference.run(many)
    assert vectors(dataset) == vectors(reference)


@pytest.mark.long
def test_flink_starts_the_work_of_a_killed_worker_again(pool, many, tmp_path, dataset, reference):
    again = {
        "restart-strategy.type": "fixed-delay",
        "restart-strategy.fixed-delay.attempts": "3",
        "restart-strategy.fixed-delay.delay": "1 s",
    }
    with job_server(FLINK, tmp_path / "server", again) as server:
        run = Run(dataset, many, on(server, pool))
        run.wait_for_parts(2)
        pool.kill_workers()
        code, out, err = run.finish()
    assert (code, err) == (0, ""), err
    assert f"embedded   {MANY:,}" in out
    reference.run(many)
    assert vectors(dataset) == vectors(reference)
