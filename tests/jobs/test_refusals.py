"""Runs that are refused: as often as they are started, and without a trace in what readers see."""

import json
import shutil

import pytest

from tests.conftest import write_image
from tests.support.dataset import dying

TIMES = 3


def refused(dataset, *inputs, options=(), match):
    """Start the same run and plan three times: both are refused, and readers see nothing."""
    before = dataset.rows(), dataset.rows("failures"), dataset.manifest()
    logs = set(dataset.folder.glob("changes/*/run=*/*"))
    for _ in range(TIMES):
        error = dataset.run(*inputs, options=options, code=1)
        assert match in error
        assert (dataset.rows(), dataset.rows("failures"), dataset.manifest()) == before
        planned = dataset.job(*inputs, options=options, command="plan")
        assert planned.code == 1
        assert planned.err.startswith("error: a run would be refused: ")
        assert match in planned.err
    assert set(dataset.folder.glob("changes/*/run=*/*")) == logs


def test_most_images_are_gone_and_others_are_there(collection, dataset):
    """What a refused run embeds does not count as known in the next one."""
    for n in range(5):
        (collection / f"{n}.png").unlink()
        write_image(collection / f"other{n}.png", 100 + n)
    refused(dataset, collection, match="5 of the 6 known images are gone")
    counts = dataset.run(collection, options=["--allow-deletes"])
    assert counts == {"listed": 6, "deleted": 5, "unchanged": 1, "resumed": 5}


def test_most_images_of_a_list_are_gone(tmp_path, collection, dataset):
    """The rest of the list is unusable rows, which are no images."""
    names = tmp_path / "names.txt"
    names.write_text("".join(f"p/{n}.png\n" for n in range(6)))
    dataset.run(names)
    shutil.rmtree(tmp_path / "p")
    write_image(tmp_path / "p" / "0.png", 0)
    names.write_text("p/0.png\n" + "".join(f"p/none{n}.png\n" for n in range(2)))
    options = ["--max-failure-ratio", "0.9"]
    refused(dataset, names, collection, options=options, match="of the 6 known images are gone")


def test_a_mended_list_is_no_list_with_gone_images(tmp_path, collection, dataset):
    names = tmp_path / "names.txt"
    names.write_text("p/0.png\n" + "".join(f"p/wrong{n}.png\n" for n in range(5)))
    dataset.run(names, options=["--max-failure-ratio", "0.9"])
    assert len(dataset.rows("failures")) == 5
    names.write_text("p/0.png\np/1.png\n")
    assert dataset.run(names) == {"listed": 2, "unchanged": 2, "deleted": 5}
    assert dataset.rows("failures") == {}
    assert len(dataset.rows()) == 6


def test_an_input_without_images(tmp_path, collection, dataset):
    (tmp_path / "q").mkdir()
    write_image(tmp_path / "q" / "0.png", 50)
    dataset.run(tmp_path / "q")
    (tmp_path / "q" / "0.png").unlink()
    refused(dataset, tmp_path / "q", match="no image was found")
    refused(dataset, collection, tmp_path / "q", match=f"{tmp_path}/q lists no image")


def test_images_that_cannot_be_read_at_all(tmp_path, collection, dataset):
    names = tmp_path / "names.txt"
    names.write_text("p/none.png\np/nothing.png\n")
    message = "2 of 2 images failed; a run in which every image fails is never committed"
    refused(dataset, names, options=["--max-failure-ratio", "1"], match=message)
    names.write_text("p/0.png\np/none.png\np/nothing.png\n")
    refused(dataset, names, match="more than --max-failure-ratio 0.5 allows")


def test_images_that_cannot_be_decoded(tmp_path, collection, dataset):
    """A plan cannot know this; a run finds it each time."""
    for n in range(3):
        (tmp_path / "q").mkdir(exist_ok=True)
        (tmp_path / "q" / f"{n}.png").write_text("no image")
    for _ in range(TIMES):
        assert "3 of 3 images failed" in dataset.run(tmp_path / "q", code=1)
        assert len(dataset.rows()) == 6
        assert dataset.rows("failures") == {}


def test_what_was_refused_waits_for_the_run_that_lists_it(tmp_path, collection, dataset):
    """Another disk is mounted at p. The next run is over another folder."""
    shutil.move(collection, tmp_path / "right")
    for n in range(3):
        write_image(collection / f"wrong{n}.png", 100 + n)
    write_image(tmp_path / "q" / "z.png", 50)
    dataset.run(collection, code=1)
    assert dataset.run(tmp_path / "q") == {"listed": 1, "new": 1, "embedded": 1}
    expected = {f"p/{n}.png" for n in range(6)} | {"q/z.png"}
    assert set(dataset.rows()) == expected
    assert len(dataset.committed()) == 7
    # Whoever mounts the right disk again finds everything as it was.
    shutil.move(collection, tmp_path / "wrong")
    shutil.move(tmp_path / "right", collection)
    assert dataset.run(collection) == {"listed": 6, "unchanged": 6}
    assert set(dataset.rows()) == expected
    # The rows of the images that are gone now have been dropped.
    shutil.copytree(tmp_path / "wrong", collection, dirs_exist_ok=True)
    counts = dataset.run(collection)
    assert counts == {"listed": 9, "new": 3, "unchanged": 6, "embedded": 3}


def test_some_rows_of_a_waiting_part_are_taken(tmp_path, collection, dataset):
    """The others keep waiting, as often as other runs take some."""
    shutil.move(collection, tmp_path / "right")
    for n in range(3):
        write_image(collection / f"wrong{n}.png", 100 + n)
    dataset.run(collection, code=1)
    for n in range(3):
        rows = dataset.run(collection / f"wrong{n}.png")
        assert rows == {"listed": 1, "resumed": 1}
        taken = {name for name in dataset.rows() if "wrong" in name}
        assert taken == {f"p/wrong{k}.png" for k in range(n + 1)}
    waiting = list((dataset.folder / "staging").rglob("*.parquet"))
    assert waiting == []


def test_readers_never_see_a_run_that_died(tmp_path, collection, dataset):
    for n in range(3):
        write_image(collection / f"new{n}.png", 100 + n)
    (collection / "0.png").unlink()
    before = dataset.rows()

    with dying():
        dataset.run(collection, code=1)
        assert dataset.rows() == before
    assert dataset.run(collection) == {"listed": 8, "deleted": 1, "unchanged": 5, "resumed": 3}


def test_a_commit_that_dies_while_it_publishes(tmp_path, collection, dataset):
    """The manifest is written, and nothing has moved yet: the run has committed."""
    write_image(collection / "new.png", 100)
    (collection / "0.png").unlink()

    with dying("pipeline.runs.commit.publish"):
        dataset.run(collection, code=1)
    names = {f"{tmp_path}/p/{name}" for name in ("new.png", *(f"{n}.png" for n in range(1, 6)))}
    assert set(dataset.committed()) == names
    assert dataset.shell("verify", dataset.folder).code == 0
    assert "6" in dataset.shell("status", dataset.folder).out
    assert dataset.run(collection) == {"listed": 6, "unchanged": 6}
    assert {f"{tmp_path}/{uri}" for uri in dataset.rows()} == names
    assert not (dataset.folder / "staging").exists()
    assert dataset.shell("verify", dataset.folder).out == f"{dataset.folder} is whole\n"


def test_an_interrupted_first_run_is_no_dataset(tmp_path, dataset):
    for n in range(6):
        write_image(tmp_path / "p" / f"{n}.png", n)

    with dying():
        dataset.run(tmp_path / "p", code=1)
    status = dataset.shell("status", dataset.folder)
    assert status.code == 0
    assert "no run has committed yet; 6 images finished by an interrupted run wait" in status.out
    for words in (["verify"], ["verify", "--repair"], ["compact"], ["changes"]):
        found = dataset.shell(*words, dataset.folder)
        assert found.code == 2
        assert "no run has committed to it. What an interrupted run has finished waits" in found.err
    assert not (dataset.folder / "manifest.json").exists()
    assert dataset.run(tmp_path / "p") == {"listed": 6, "resumed": 6}


def test_waiting_rows_take_the_types_and_values_of_the_run_that_commits(tmp_path, dataset):
    """The run that died took the column for whole numbers, and had read another label."""
    for n in range(3):
        write_image(tmp_path / f"{n}.png", n)
    path = tmp_path / "list.csv"
    path.write_text("uri,v,label\n0.png,1,old\n1.png,2,old\n")

    with dying():
        dataset.run(path, options=["--keep", "v,label"], code=1)
    path.write_text("uri,v,label\n0.png,1,new\n2.png,A12,new\n")
    counts = dataset.run(path, options=["--keep", "v,label"])
    assert counts == {"listed": 2, "new": 1, "embedded": 1, "resumed": 1}
    values = {name: (row["v"], row["label"]) for name, row in dataset.by_name().items()}
    assert values == {"0.png": ("1", "new"), "2.png": ("A12", "new")}
    # A folder has no values: those that the run that died had read do not come back.
    assert dataset.run(tmp_path / "1.png") == {"listed": 1, "resumed": 1}
    assert dataset.by_name()["1.png"]["v"] is None
    assert dataset.by_name()["1.png"]["label"] is None


def test_waiting_parts_of_an_early_version_are_put_aside(tmp_path, collection, dataset):
    """It wrote parts to their final paths, where readers by glob see them."""
    shutil.move(collection, tmp_path / "right")
    for n in range(3):
        write_image(collection / f"wrong{n}.png", 100 + n)
    write_image(tmp_path / "q" / "z.png", 50)
    dataset.run(collection, code=1)
    shutil.copytree(dataset.folder / "staging", dataset.folder, dirs_exist_ok=True)
    shutil.rmtree(dataset.folder / "staging")
    assert len(dataset.rows()) == 9
    dataset.run(tmp_path / "q")
    assert len(dataset.rows()) == 7
    counts = dataset.run(collection, options=["--allow-deletes"])
    assert counts == {"listed": 3, "deleted": 6, "resumed": 3}
    assert len(dataset.rows()) == 4


@pytest.mark.parametrize("then", ["run", "compact"])
def test_a_move_that_was_killed_between_copy_and_removal(tmp_path, collection, dataset, then):
    """As in a bucket: the part is at both of its paths. It has to go from both."""
    write_image(tmp_path / "q" / "z.png", 50)
    dataset.run(tmp_path / "q")
    for path in list((dataset.folder / "embeddings").rglob("part-*.parquet")):
        place = dataset.folder / "staging" / path.relative_to(dataset.folder)
        place.parent.mkdir(parents=True)
        shutil.copy(path, place)
        manifest = dataset.manifest()
        names = {*manifest["publishing"], str(path.relative_to(dataset.folder))}
        text = json.dumps({**manifest, "publishing": sorted(names)})
        (dataset.folder / "manifest.json").write_text(text)
    assert len(dataset.committed()) == 7
    if then == "run":
        write_image(collection / "0.png", 60)
        (tmp_path / "q" / "z.png").unlink()
        write_image(tmp_path / "q" / "y.png", 51)
        dataset.run(collection, tmp_path / "q")
    else:
        assert dataset.shell("compact", dataset.folder).code == 0
    assert len(dataset.rows()) == len(dataset.committed()) == 7
    assert dataset.shell("verify", dataset.folder).out == f"{dataset.folder} is whole\n"
