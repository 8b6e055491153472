"""Rows below a folder that is gone, or that nobody wants any more."""

import shutil

import pytest

import encoder
from encoder.errors import InputError
from pipeline.errors import JobError
from pipeline.upkeep.prune_uris import prune_uris
from tests.conftest import write_image
from tests.support.damage import kill_at
from tests.support.packed import picture, tar

pytestmark = pytest.mark.slow


@pytest.fixture
def collection(tmp_path, dataset):
    """Images in two folders, one of whose names begins like the other's, and in an archive."""
    for n in range(3):
        write_image(tmp_path / "old" / f"{n}.png", n)
        write_image(tmp_path / "older" / f"{n}.png", 10 + n)
    (tmp_path / "old" / "bad.png").write_text("no image")
    tar(tmp_path / "old" / "a.tar", [("x.png", picture(20))])
    (tmp_path / "some.txt").write_text("old/0.png\nolder/0.png\n")
    dataset.run(tmp_path / "old", tmp_path / "older", tmp_path / "some.txt")
    return tmp_path


def names(dataset):
    return sorted(dataset.rows())


def test_a_folder_that_is_gone(collection, dataset):
    shutil.rmtree(collection / "old")
    run = list(dataset.manifest()["runs"])[-1]
    first = dataset.shell("prune", dataset.folder, "--uri-prefix", collection / "old", "--dry-run")
    assert first.out == f"would remove 4 embeddings and 1 failure below {collection}/old\n"
    assert len(names(dataset)) == 7
    done = dataset.shell("prune", dataset.folder, "--uri-prefix", f"{collection}/old/")
    assert (done.code, done.err) == (0, "")
    assert done.out == f"removed 4 embeddings and 1 failure below {collection}/old/\n"
    assert names(dataset) == [f"older/{n}.png" for n in range(3)]
    assert dataset.rows("failures") == {}
    changes = dataset.shell("changes", dataset.folder, "--since", run).out.splitlines()
    assert len(changes) == 4
    assert all('"removed"' in line for line in changes)
    assert dataset.shell("verify", dataset.folder).out == f"{dataset.folder} is whole\n"
    again = dataset.shell("prune", dataset.folder, "--uri-prefix", collection / "old")
    assert again.out == f"nothing to do: no row is below {collection}/old\n"
    assert "prune-" in dataset.shell("status", dataset.folder).out
    # The input is forgotten as well; the others go on.
    (state,) = dataset.manifest()["encoders"].values()
    assert [each["base"] for each in state["inputs"]] == [str(collection / "older")]
    assert dataset.run(collection / "older") == {"listed": 3, "unchanged": 3}


@pytest.mark.parametrize(
    ("prefix", "left"),
    [
        ("old/a.tar", 6),
        ("old/0.png", 6),
        ("old*", 0),
        ("old/./", 3),
        ("ol", 7),
    ],
)
def test_what_is_below(collection, dataset, prefix, left):
    prune_uris(dataset.folder, f"{collection}/{prefix}")
    assert len(names(dataset)) == left
    assert dataset.shell("verify", dataset.folder).out == f"{dataset.folder} is whole\n"


def test_all_encoders(collection, dataset, small_model_file):
    encoder.extract(small_model_file, collection / "second", layer="pool1")
    dataset.run(collection / "old", bundle=collection / "second")
    pruned = prune_uris(dataset.folder, str(collection / "old"))
    assert (pruned.embeddings, pruned.failures) == (8, 2)
    assert dataset.shell("verify", dataset.folder).out == f"{dataset.folder} is whole\n"


def test_wrong_prefixes(collection, dataset):
    for prefix in ("*", " ", "/", "//"):
        refused = dataset.shell("prune", dataset.folder, "--uri-prefix", prefix)
        assert refused.code == 2
        assert "would remove every row" in refused.err
    with pytest.raises(InputError, match=r"--uri-prefix .*unknown scheme"):
        prune_uris(dataset.folder, "ftp://x/y")


def test_killed_at_any_moment(collection, dataset, monkeypatch):
    """Readers see the rows of before or those of after, and the next command goes on."""
    before = names(dataset)
    place, number = str(collection / "old"), 0
    template = collection / "template"
    shutil.copytree(dataset.folder, template)
    while True:
        shutil.rmtree(dataset.folder)
        shutil.copytree(template, dataset.folder)
        number += 1
        if not kill_at(monkeypatch, number, False, lambda: prune_uris(dataset.folder, place)):
            break
        committed = sorted(uri.removeprefix(f"{collection}/") for uri in dataset.committed())
        assert committed in (before, [f"older/{n}.png" for n in range(3)])
        prune_uris(dataset.folder, place)
        dataset.run(collection / "older")
        assert names(dataset) == [f"older/{n}.png" for n in range(3)]
        found = dataset.shell("verify", dataset.folder)
        assert (found.code, found.err) == (0, "")
    assert number > 4


def test_a_run_commits_meanwhile(collection, dataset, monkeypatch):
    from pipeline.dataset.part_files import PartStream

    write = PartStream.write

    def overtaken(*arguments):
        monkeypatch.setattr(PartStream, "write", write)
        dataset.run(collection / "older")
        return write(*arguments)

    write_image(collection / "older" / "new.png", 77)
    monkeypatch.setattr(PartStream, "write", overtaken)
    with pytest.raises(JobError, match="committed to this output while prune worked"):
        prune_uris(dataset.folder, str(collection / "old"))
    assert len(names(dataset)) == 8
    assert not list((dataset.folder / "runs").glob("prune-*"))
