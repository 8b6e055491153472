"""The job from the shell, with a small encoder, on Beam's in-process runner."""

import json
import os
import shutil
import subprocess
import sys

import pyarrow.dataset as ds
import pytest

from encoder.storage.file_systems import open_regular
from pipeline.__main__ import build_parser, main
from pipeline.dataset.reader import open_dataset
from tests.conftest import write_image


@pytest.fixture
def shell(images, dataset):
    """A function that runs a command over the images, and returns exit code, stdout and stderr."""

    def run(*more, source=images, **settings):
        return dataset.job(source, options=more, **settings)

    return run


def test_a_first_run(shell, tmp_path, images, dataset):
    code, out, _ = shell("--run-id", "first")
    assert code == 0
    found = dataset.by_name()
    assert sorted(found) == ["0.jpg", "1.jpg", "2.jpg", "3.png", "4.png"]
    assert len(found) == 5
    one = found["3.png"]
    assert one["uri"] == str(images / "b" / "3.png")
    assert (one["width"], one["height"]) == (40, 30)
    assert one["bytes"] == (images / "b" / "3.png").stat().st_size
    assert dataset.runs() == {"first"}
    assert dataset.counts() == {"listed": 5, "new": 5, "embedded": 5}
    assert dataset.record()["encoder_loads"] == 1
    assert "embedded   5" in out
    assert open_dataset(tmp_path / "out").count_rows() == 5


def test_a_second_run_embeds_nothing_and_says_so(shell, tmp_path, dataset):
    shell()
    before = sorted((tmp_path / "out" / "embeddings").rglob("*.parquet"))
    code, out, _ = shell()
    assert code == 0
    assert "nothing to do" in out
    assert dataset.counts() == {"listed": 5, "unchanged": 5}
    assert dataset.record()["encoder_loads"] == 0
    assert sorted((tmp_path / "out" / "embeddings").rglob("*.parquet")) == before


def test_new_changed_touched_and_removed_files(shell, tmp_path, images, dataset):
    shell()
    old = dataset.by_name()
    write_image(images / "new.png", 77)
    write_image(images / "a" / "0.jpg", 88)
    os.utime(images / "b" / "1.jpg", ns=(10**18, 10**18))
    (images / "b" / "3.png").unlink()
    planned = "listed 5 new 1 changed 1 unchanged 3 resumed 0 deleted 1 copied 0"
    assert shell(command="plan")[1].split()[: len(planned.split())] == planned.split()
    assert shell()[0] == 0
    assert dataset.counts() == {
        "listed": 5,
        "new": 1,
        "changed": 1,
        "unchanged": 3,
        "deleted": 1,
        "embedded": 2,
    }
    found = dataset.by_name()
    assert sorted(found) == ["0.jpg", "1.jpg", "2.jpg", "4.png", "new.png"]
    assert len(found) == 5
    assert found["0.jpg"]["embedding"] != old["0.jpg"]["embedding"]
    assert found["1.jpg"]["embedding"] == old["1.jpg"]["embedding"]
    assert found["1.jpg"]["version"].startswith(f"{10**18}-")
    assert shell()[1].count("nothing to do") == 1


def test_plan_writes_nothing(shell, tmp_path):
    code, out, _ = shell(command="plan")
    assert code == 0
    assert out.split()[:4] == ["listed", "5", "new", "5"]
    assert not (tmp_path / "out").exists()


def test_bad_images_are_failures_and_cost_nothing_else(shell, tmp_path, images, dataset):
    good = (images / "a" / "0.jpg").read_bytes()
    (images / "truncated.jpg").write_bytes(good[: len(good) // 2])
    (images / "empty.jpg").touch()
    (images / "text.jpg").write_text("hello")
    (images / "broken.jpg").symlink_to("nowhere")
    code, out, err = shell()
    assert (code, err) == (0, "")
    assert len(dataset.rows()) == 5
    failed = dataset.by_name("failures")
    assert len(failed) == 4
    assert {name: (row["stage"], row["error"]) for name, row in failed.items()} == {
        "truncated.jpg": ("decode", "TruncatedError"),
        "empty.jpg": ("decode", "UnidentifiedImageError"),
        "text.jpg": ("decode", "UnidentifiedImageError"),
        "broken.jpg": ("list", "ListError"),
    }
    assert "failed     4" in out
    assert "the file is empty (0 bytes)" in out
    # An image that can't be decoded waits for a new version; one that can't be read is tried again.
    assert shell()[0] == 0
    assert dataset.counts() == {"listed": 9, "new": 1, "unchanged": 8, "failed": 1}
    assert len(dataset.rows("failures")) == 4
    (images / "text.jpg").write_bytes(good)
    (images / "broken.jpg").unlink()
    shell()
    assert sorted(dataset.by_name("failures")) == ["empty.jpg", "truncated.jpg"]
    assert len(dataset.rows()) == 6
    shell("--retry-failures")
    assert dataset.counts() == {"listed": 8, "new": 2, "unchanged": 6, "failed": 2}


def refusing(name, error):
    """Opens every file but that of one name, which raises an error."""

    def opening(path):
        if path.endswith(name):
            raise error
        return open_regular(path)

    return opening


def test_a_file_that_can_not_be_read(shell, tmp_path, images, dataset, monkeypatch):
    """Reading it gives an input/output error, like a bad sector."""
    write_image(images / "bad.jpg", 8)
    bad = refusing("bad.jpg", OSError(5, "Input/output error"))
    monkeypatch.setattr("encoder.storage.local.open_regular", bad)
    assert shell()[0] == 0
    monkeypatch.undo()
    failed = dataset.by_name("failures")
    assert len(failed) == 1
    assert (failed["bad.jpg"]["stage"], failed["bad.jpg"]["error"]) == ("read", "OSError")
    assert len(dataset.rows()) == 5
    (images / "bad.jpg").unlink()
    write_image(images / "bad.jpg", 9)
    assert shell()[0] == 0
    assert dataset.counts()["embedded"] == 1
    assert len(dataset.rows()) == 6
    assert not list((tmp_path / "out" / "failures").rglob("*.parquet"))


def test_what_could_not_be_read_is_tried_again(shell, tmp_path, monkeypatch, dataset):
    refuse = refusing("0.jpg", PermissionError(13, "Permission denied"))
    monkeypatch.setattr("encoder.storage.local.open_regular", refuse)
    assert shell()[0] == 0
    failed = dataset.by_name("failures")
    assert len(failed) == 1
    assert (failed["0.jpg"]["stage"], failed["0.jpg"]["error"]) == ("read", "PermissionError")
    monkeypatch.undo()
    assert shell()[0] == 0
    assert dataset.counts() == {"listed": 5, "new": 1, "unchanged": 4, "embedded": 1}
    assert len(dataset.rows()) == 5
    assert not list((tmp_path / "out" / "failures").rglob("*.parquet"))


def test_a_run_in_which_every_image_fails(shell, tmp_path):
    (tmp_path / "bad").mkdir()
    for number in range(3):
        (tmp_path / "bad" / f"{number}.jpg").write_text("hello")
    for _ in range(2):
        code, _, err = shell("--max-failure-ratio", "1", source=tmp_path / "bad")
        assert code == 1
        assert "3 of 3 images failed" in err
        assert "Traceback" not in err
    assert not (tmp_path / "out" / "manifest.json").exists()


def test_an_empty_listing_deletes_nothing(shell, tmp_path, images, dataset):
    shell()
    shutil.rmtree(images)
    images.mkdir()
    code, _, err = shell()
    assert code == 1
    assert "--allow-empty" in err
    assert len(dataset.rows()) == 5
    assert shell("--allow-empty")[0] == 0
    assert not list((tmp_path / "out" / "embeddings").rglob("*.parquet"))
    assert dataset.counts() == {"deleted": 5}
    assert open_dataset(tmp_path / "out").count_rows() == 0


def test_inputs_speak_only_of_their_own(shell, tmp_path, images, dataset):
    assert shell(source=images / "a" / "*.*")[0] == 0
    assert shell(source=images / "b" / "*.*")[0] == 0
    assert len(dataset.rows()) == 5
    (images / "a" / "0.jpg").unlink()
    (images / "b" / "1.jpg").unlink()
    shell(source=images / "b" / "*.*")
    assert sorted(dataset.by_name()) == ["0.jpg", "2.jpg", "3.png", "4.png"]
    shell("--input", images / "b", source=images / "a")
    assert sorted(dataset.by_name()) == ["2.jpg", "3.png", "4.png"]


def test_another_encoder_has_its_own_folder(shell, tmp_path, small_model_file, dataset):
    import encoder

    shell()
    encoder.extract(small_model_file, tmp_path / "second", layer="pool1")
    assert shell(bundle=tmp_path / "second")[0] == 0
    assert len(list((tmp_path / "out" / "embeddings").iterdir())) == 2
    assert dataset.counts() == {"listed": 5, "new": 5, "embedded": 5}


def test_a_left_over_that_is_damaged_is_given_up(shell, tmp_path, small_bundle, dataset):
    from encoder.spec import read_spec

    spec = read_spec(small_bundle)
    folder = tmp_path / "out" / "embeddings" / f"encoder={spec.id}" / "run=dead"
    folder.mkdir(parents=True)
    (folder / "part-0123456789abcdef01234567.parquet").write_bytes(b"PAR1 and no more")
    code, _, err = shell()
    assert (code, err) == (0, "")
    assert len(dataset.rows()) == 5
    assert not folder.exists()


def test_a_live_part_that_is_damaged_is_named(shell, tmp_path):
    shell()
    (part,) = (tmp_path / "out" / "embeddings").rglob("*.parquet")
    part.write_bytes(part.read_bytes()[:100])
    code, _, err = shell()
    assert code == 1
    assert part.name in err
    assert "Restore it" in err
    assert "Traceback" not in err


def test_what_a_run_that_died_had_done_is_taken_over(shell, tmp_path, images, monkeypatch, dataset):
    def killed(*_):
        raise RuntimeError("killed before the commit")

    monkeypatch.setattr("pipeline.steps.commit.commit", killed)
    code, _, err = shell("--run-id", "dead")
    assert code == 1
    assert "killed before the commit" in err
    monkeypatch.undo()
    os.utime(images / "a" / "0.jpg", ns=(10**18, 10**18))
    (images / "b" / "1.jpg").unlink()
    assert shell()[0] == 0
    assert dataset.counts() == {"listed": 4, "unchanged": 1, "resumed": 3}
    assert dataset.record()["encoder_loads"] == 0
    assert len(dataset.rows()) == 4


def test_ctrl_c(shell, monkeypatch):
    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("pipeline.steps.commit.commit", interrupt)
    code, _, err = shell()
    assert code == 130
    assert err.startswith("interrupted; start it again")


def test_a_job_run_twice_from_python_says_so(shell, images, small_bundle, tmp_path):
    import pipeline
    from encoder.errors import InputError
    from pipeline.launch.beam_options import parse_beam_options

    job = pipeline.new_job([str(images)], str(small_bundle), str(tmp_path / "out"))
    assert pipeline.run(job, parse_beam_options([]))["embedded"] == 5
    with pytest.raises(InputError, match="is taken"):
        pipeline.run(job, parse_beam_options([]))


def test_errors_of_worker_processes_are_one_line(images, small_bundle, tmp_path):
    """The terminal, which worker processes share, shows only that line."""
    for path in images.rglob("*.*"):
        path.write_text("no image")
    words = ["--input", images, "--encoder", small_bundle, "--output", tmp_path / "out"]
    workers = ["--direct_num_workers=2", "--direct_running_mode=multi_processing"]
    result = subprocess.run(
        [sys.executable, "-m", "pipeline", "run", *map(str, words), *workers],
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 1
    assert len(result.stderr.splitlines()) == 1
    assert "5 of 5 images failed" in result.stderr


def test_status(shell, tmp_path, capsys):
    shell("--run-id", "first")
    assert main(["status", str(tmp_path / "out")]) == 0
    out = capsys.readouterr().out
    assert "dataset" in out
    assert " first " in out


def test_workers_in_other_processes_load_once(shell, tmp_path, dataset):
    code, _, err = shell("--direct_num_workers=2", "--direct_running_mode=multi_processing")
    assert (code, err) == (0, "")
    assert len(dataset.rows()) == 5
    assert dataset.record()["encoder_loads"] == 1


ON_DATAFLOW = [
    *("--project=p-123456", "--region=europe-west4", "--temp_location=gs://bucket/temp"),
    "--sdk_container_image=registry.example/embed:1",
]


@pytest.mark.parametrize(
    ("options", "code", "message"),
    [
        (["--no-such-option", "1"], 2, "unknown option '--no-such-option'"),
        (["--direct_num_workers", "many"], 2, "--direct_num_workers"),
        (["--batch-size", "0"], 2, "--batch-size is 0"),
        (["--max-failure-ratio", "2"], 2, "--max-failure-ratio is 2"),
        (["--run-id", "a/b"], 2, "--run-id 'a/b'"),
        (["--input", "/no/such/folder"], 2, "--input '/no/such/folder'"),
        (["--encoder", "/no/such/bundle"], 2, "--encoder: '/no/such/bundle' is not an encoder"),
        (["--output", "/proc/nowhere"], 2, "--output '/proc/nowhere' can't be made"),
        (["--runner", "DataflowRunner"], 2, "add --project=PROJECT"),
        ([*ON_DATAFLOW, "--runner=DataflowRunner"], 2, "workers on Dataflow can't reach"),
        (["--runner", "NoSuchRunner"], 2, "NoSuchRunner"),
        (["--dry_run=True"], 2, "use 'python -m pipeline plan'"),
    ],
)
def test_wrong_command_lines_name_the_option(shell, options, code, message):
    found, out, err = shell(*options)
    assert (found, out) == (code, "")
    assert message in err
    assert err.startswith("error: ")
    assert "Traceback" not in err


def test_options_of_the_wrong_type_exit_2(shell, capsys):
    with pytest.raises(SystemExit) as stop:
        shell("--batch-size", "many")
    assert stop.value.code == 2
    assert "--batch-size" in capsys.readouterr().err


def test_a_run_id_is_used_once(shell):
    assert shell("--run-id", "one")[0] == 0
    code, _, err = shell("--run-id", "one")
    assert code == 2
    assert "--run-id 'one' is taken" in err


def test_changes(shell, tmp_path, images, capsys):
    out = str(tmp_path / "out")
    shell("--run-id", "first")
    (images / "a" / "0.jpg").unlink()
    shell("--run-id", "second")
    capsys.readouterr()
    assert main(["changes", out, "--since", "first"]) == 0
    (line,) = capsys.readouterr().out.splitlines()
    assert json.loads(line) == {"uri": str(images / "a" / "0.jpg"), "change": "removed"}
    for name in ("all.jsonl", "all.parquet"):
        assert main(["changes", out, "--to", str(tmp_path / name)]) == 0
    table = ds.dataset(tmp_path / "all.parquet").to_table().to_pylist()
    lines = (tmp_path / "all.jsonl").read_text().splitlines()
    assert [json.loads(line) for line in lines] == table
    assert len(table) == 4
    assert main(["changes", out, "--since", "third"]) == 2
    assert "the last ones are first, second" in capsys.readouterr().err
    assert main(["changes", out, "--to", "all.csv"]) == 2
    assert main(["changes", out, "--encoder", "x"]) == 2


def test_copies_are_named_in_the_summary(shell, images):
    shell()
    shutil.copy(images / "b" / "3.png", images / "copy.png")
    out = shell()[1]
    assert "embedded   1 in" in out
    assert "copied     1 (of the embedded" in out


VALUES = [
    (command, option)
    for commands in build_parser()._actions
    for command, parser in (getattr(commands, "choices", None) or {}).items()
    for action in parser._actions
    if action.nargs is None
    for option in action.option_strings
]


@pytest.mark.parametrize(("command", "option"), VALUES)
def test_no_option_is_empty(command, option, capsys):
    """As with "$VARIABLE" that is not set: the current folder, say, is not meant."""
    for words in ([option, ""], [f"{option}="]):
        with pytest.raises(SystemExit) as ended:
            main([command, *words])
        assert ended.value.code == 2
        assert f"error: {option} is empty" in capsys.readouterr().err


@pytest.mark.parametrize("option", ["--runner", "--region"])
def test_no_option_of_beam_is_empty(option, capsys):
    with pytest.raises(SystemExit, match="2"):
        main(["run", option, ""])
    assert f"error: {option} is empty" in capsys.readouterr().err


def test_names_to_keep_are_not_empty(shell):
    code, _, err = shell("--keep", "a,,b")
    assert code == 2
    assert "--keep is 'a,,b'" in err
