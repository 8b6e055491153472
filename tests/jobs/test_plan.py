"""What a plan foresees is what the run then counts."""

import json
import math
import os
import shutil

import pytest

from encoder.spec import read_spec
from pipeline.options import size_text
from tests.conftest import write_image
from tests.support.packed import picture, tar


def foreseen(dataset, *inputs, options=()):
    output = dataset.job(*inputs, options=options, command="plan")
    assert output.code == 0, output.err
    lines = [
        line.split()
        for line in output.out.splitlines()
        if not line.startswith(("note: ", "to read"))
    ]
    return {words[0]: int(words[1].replace(",", "")) for words in lines if words[1] != "0"}


def check(dataset, *inputs, options=()):
    """Compare plan and run. Returns what both count."""
    planned = foreseen(dataset, *inputs, options=options)
    dataset.run(*inputs, options=options)
    record = dataset.record()
    assert planned == {name: record[name] for name in planned}
    names = ("listed", "new", "changed", "unchanged", "resumed", "deleted", "copied", "renewed")
    assert {name: record[name] for name in names if record[name]} == planned
    return planned


def test_a_moved_and_a_copied_folder(tmp_path, collection, dataset):
    shutil.copytree(collection, tmp_path / "copy")  # with the times of the files
    for path in sorted((tmp_path / "copy").iterdir())[:3]:
        os.utime(path, ns=(10**18, 10**18))
    write_image(tmp_path / "copy" / "more.png", 70)
    assert check(dataset, tmp_path / "copy") == {"listed": 7, "new": 7, "copied": 6}
    collection.rename(tmp_path / "moved")
    planned = dataset.job(tmp_path / "moved", command="plan")
    assert "copied     6" in planned.out
    gone = "note: dataset: keeps 6 rows outside these inputs whose folder is gone; 'python -m"
    assert f"{gone} pipeline prune OUTPUT --uri-prefix FOLDER' removes them, such as" in planned.out
    assert "note: dataset: keeps 7 rows outside these inputs, such as" in planned.out


def test_touched_changed_gone_and_packed_images(tmp_path, collection, dataset):
    os.utime(collection / "0.png", ns=(10**18, 10**18))
    write_image(collection / "1.png", 60)
    (collection / "2.png").unlink()
    shutil.copy(collection / "3.png", collection / "copy.png")
    members = [("new.png", picture(80)), ("old.png", (collection / "4.png").read_bytes())]
    tar(tmp_path / "a.tar", members)
    planned = check(dataset, collection, tmp_path / "a.tar")
    assert planned == {
        "listed": 8,
        "new": 3,
        "changed": 1,
        "unchanged": 4,
        "deleted": 1,
        "copied": 2,
    }
    assert check(dataset, collection, tmp_path / "a.tar") == {"listed": 8, "unchanged": 8}


def test_a_plan_of_many_images_estimates(tmp_path, collection, dataset, monkeypatch):
    monkeypatch.setattr("pipeline.steps.forecast._FILES", 4)
    shutil.copytree(collection, tmp_path / "copy")
    out = dataset.job(tmp_path / "copy", command="plan").out
    assert "copied     6 (estimated: 4 of 6 images were read to see)" in out


def test_a_plan_writes_nothing(tmp_path, collection, dataset):
    before = {path: path.stat().st_mtime_ns for path in dataset.folder.rglob("*")}
    write_image(collection / "more.png", 70)
    foreseen(dataset, collection)
    assert {path: path.stat().st_mtime_ns for path in dataset.folder.rglob("*")} == before
    assert dataset.job(collection, command="plan", output=tmp_path / "other").code == 0
    assert not (tmp_path / "other").exists()


def test_content_of_an_unchanged_version(tmp_path, collection, dataset):
    """A tool has written other pixels and set the old time again."""
    path = collection / "0.png"
    before = path.stat()
    data = bytearray(path.read_bytes())
    other = write_image(tmp_path / "other.png", 70).read_bytes()[: len(data)]
    path.write_bytes(other.ljust(len(data), b"\0"))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    old = dataset.by_name()
    assert foreseen(dataset, collection) == {"listed": 6, "unchanged": 6}
    planned = check(dataset, collection, options=["--check-content", "all"])
    assert planned == {"listed": 6, "changed": 1, "unchanged": 5}
    assert dataset.counts()["embedded"] == 1
    new = dataset.by_name()
    assert [name for name in new if new[name] != old[name]] == ["0.png"]
    assert new["0.png"]["version"] == old["0.png"]["version"]
    changes = dataset.shell(
        "changes", dataset.folder, "--since", next(iter(dataset.manifest()["runs"]))
    )
    assert changes.out.count("\n") == 1
    assert '"change": "changed"' in changes.out
    # Another check finds nothing.
    assert check(dataset, collection, options=["--check-content", "100%"]) == {
        "listed": 6,
        "unchanged": 6,
    }


def test_content_of_archives_and_of_unreadable_images(tmp_path, collection, dataset):
    tar(tmp_path / "a.tar", [(f"{n}.png", picture(n)) for n in range(3)])
    inputs = [collection, tmp_path / "a.tar"]
    dataset.run(*inputs)
    before = (tmp_path / "a.tar").stat()
    tar(tmp_path / "a.tar", [(f"{n}.png", picture(n + (n == 1) * 50)) for n in range(3)])
    data = (tmp_path / "a.tar").read_bytes()
    assert len(data) == before.st_size
    os.utime(tmp_path / "a.tar", ns=(before.st_atime_ns, before.st_mtime_ns))
    size = (collection / "1.png").stat()
    (collection / "1.png").write_bytes(b"\0" * size.st_size)  # it cannot be decoded any more
    os.utime(collection / "1.png", ns=(size.st_atime_ns, size.st_mtime_ns))
    assert dataset.run(*inputs)["unchanged"] == 9
    counts = dataset.run(*inputs, options=["--check-content", "all"])
    assert counts == {"listed": 9, "changed": 2, "unchanged": 7, "embedded": 1, "failed": 1}
    assert set(dataset.by_name("failures")) == {"1.png"}


def test_a_share_is_another_sample_in_every_run():
    from pipeline.runs.scope import ContentCheck

    uris = [f"/p/{n}.png" for n in range(4000)]
    samples = [{u for u in uris if ContentCheck(0.25, run).takes(u)} for run in ("one", "two")]
    assert all(800 < len(sample) < 1200 for sample in samples)
    assert 100 < len(samples[0] & samples[1]) < 400
    assert not any(ContentCheck(0.0, "one").takes(u) for u in uris)
    assert all(ContentCheck(1.0, "one").takes(u) for u in uris)


@pytest.mark.parametrize("text", ["0", "some", "-1", "200%", "1.5", ""])
def test_wrong_shares(collection, dataset, capsys, text):
    with pytest.raises(SystemExit) as left:
        dataset.job(collection, options=[f"--check-content={text}"])
    assert left.value.code == 2
    assert "--check-content" in capsys.readouterr().err


def test_what_a_run_refuses_at_once(tmp_path, collection, dataset):
    """A plan refuses it, too, with the same exit code, and makes nothing."""
    (tmp_path / "file").write_text("")
    run_id = next(iter(dataset.manifest()["runs"]))
    for options, output in (([], tmp_path / "file" / "out"), (["--run-id", run_id], None)):
        for command in ("run", "plan"):
            refused = dataset.job(collection, options=options, command=command, output=output)
            assert refused.code == 2
            assert "--output" in refused.err or "--run-id" in refused.err


def test_a_plan_of_a_first_run_reads_no_image(tmp_path, dataset, monkeypatch):
    """There is nothing to compare their content with."""
    for n in range(3):
        write_image(tmp_path / "p" / f"{n}.png", n)
    monkeypatch.setattr("pipeline.steps.forecast._FILES", 2)

    def never(*_):
        raise AssertionError("an image was read")

    monkeypatch.setattr("pipeline.steps.forecast.read_file", never)
    monkeypatch.setattr("pipeline.steps.forecast.read_archive", never)
    assert "copied     0\n" in dataset.job(tmp_path / "p", command="plan").out


def test_bytes_to_read_and_costs(tmp_path, dataset):
    """What is left to embed, by machine; the prices follow from the rates."""
    collection = tmp_path / "some"
    for seed in range(4):
        write_image(collection / f"{seed}.png", seed)
    size = sum(path.stat().st_size for path in collection.iterdir())
    planned = dataset.job(collection, command="plan").out
    assert f"to read    {size_text(size)}" in planned
    assert "USD" not in planned
    table = tmp_path / "machines.json"
    machines = [
        {"name": "slow", "usd_per_hour": 7200, "images_per_second": 0.001, "measured": True},
        {"name": "fast", "usd_per_hour": 1, "gflops": {"float32": 1e-3}},
        {"name": "few cores", "cores": 0.001, "gflops": {"float32": 1e9}},
    ]
    table.write_text(json.dumps({"machines": machines}))
    options = ["--cost", "--machines", table, "--within", "0.5", "--rate", "0.5"]
    lines = dataset.job(collection, command="plan", options=options).out.splitlines()
    count = len(list(collection.iterdir()))
    rows = {line[:24].strip(): line[24:].split() for line in lines}
    hours = count / 0.001 / 3600
    assert rows["slow"] == [
        "0.0",
        f"{hours:.2f}",
        f"{math.ceil(hours / 0.5)}",
        f"{hours * 7200:,.2f}",
    ]
    assert float(rows["fast"][0]) == pytest.approx(1e6 / operations(dataset), abs=0.06)
    assert rows["fast"][4:] == ["estimate,", "not", "measured"]
    assert rows["few cores"][0] == "0.4"
    assert rows["this rate"][0] == "0.5"
    assert len([line for line in lines if line.startswith(("slow", "fast", "few", "this"))]) == 4
    dataset.run(collection)
    done = dataset.job(collection, command="plan", options=["--cost"]).out
    assert "to read    0 B" in done
    assert "no image has to be embedded" in done


def operations(dataset):
    """Of the small network: two convolutions of 3x3, two operations for a multiplication."""
    height, width = read_spec(dataset.bundle).height, read_spec(dataset.bundle).width
    return 2 * 9 * (height * width * 3 * 8 + height * width // 4 * 8 * 16)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("{", "--machines"),
        ("{}", "it has no list 'machines'"),
        ('{"machines": [{"usd_per_hour": 1}]}', "machine 1 has no 'name'"),
        ('{"machines": [{"name": "a", "gflops": {"float32": -1}}]}', "'float32' is -1; expected"),
        ('{"machines": [{"name": "a", "gflops": 5}]}', "machine 'a'"),
        ('{"machines": [{"name": "a", "usd_per_hour": 1}]}', "neither 'gflops' nor 'images_per_"),
        ('{"machines": [{"name": "a", "usd_per_hour": "1", "gflops": {}}]}', "is '1'; expected a"),
    ],
)
def test_a_table_of_machines_that_is_wrong(tmp_path, collection, dataset, text, problem):
    (tmp_path / "m.json").write_text(text)
    options = ["--cost", "--machines", tmp_path / "m.json"]
    output = dataset.job(collection, command="plan", options=options)
    assert output.code == 2
    assert "--machines" in output.err
    assert problem in output.err


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        (["--within", "8"], "--within is for --cost"),
        (["--rate", "1"], "--rate is for --cost"),
        (["--cost", "--machines", "none.json"], "--machines 'none.json'"),
    ],
)
def test_options_of_costs_that_are_wrong(collection, dataset, options, problem):
    output = dataset.job(collection, command="plan", options=options)
    assert output.code == 2
    assert problem in output.err


@pytest.mark.parametrize("options", [["--rate", "fast"], ["--rate", "0"], ["--within", "0"]])
def test_numbers_of_costs_that_are_wrong(tmp_path, dataset, capsys, options):
    with pytest.raises(SystemExit, match="2"):
        dataset.job(tmp_path, command="plan", options=["--cost", *options])
    assert f"argument {options[0]}: '{options[1]}'" in capsys.readouterr().err
