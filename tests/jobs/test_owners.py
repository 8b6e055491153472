"""Whose row is it: a row goes when the last input that names its image no longer does."""

import json

import pytest

from tests.conftest import write_image
from tests.support.packed import picture, tar


@pytest.fixture
def folder(tmp_path):
    for n in range(6):
        write_image(tmp_path / "p" / f"{n}.png", n)
    return tmp_path / "p"


@pytest.fixture
def write(tmp_path, folder):
    """A function that writes a manifest with the column split. Returns its path."""

    def write(name, split, numbers):
        path = tmp_path / "lists" / name
        path.parent.mkdir(exist_ok=True)
        lines = "".join(f"../p/{n}.png,{split}\n" for n in numbers)
        path.write_text(f"uri,split\n{lines}")
        return path

    return write


def splits(dataset):
    return {name[0]: row["split"] for name, row in dataset.by_name().items()}


KEEP = ["--keep", "split"]


@pytest.mark.parametrize("last", ["train", "val"])
def test_an_image_moves_from_one_list_to_another(write, dataset, last):
    train, val = write("train.csv", "train", range(4)), write("val.csv", "val", (4, 5))
    for path in (train, val):
        dataset.run(path, options=KEEP)
    write("train.csv", "train", range(3))
    write("val.csv", "val", (3, 4, 5))
    for path in (val, train) if last == "train" else (train, val):
        dataset.run(path, options=KEEP)
    expected = dict.fromkeys("012", "train") | dict.fromkeys("345", "val")
    assert splits(dataset) == expected


def test_the_last_list_takes_the_row_along(write, dataset):
    train, val = write("train.csv", "train", range(4)), write("val.csv", "val", (3, 4, 5))
    dataset.run(train, val, options=KEEP)
    write("train.csv", "train", range(3))
    assert dataset.run(train, options=KEEP) == {"listed": 3, "unchanged": 3}
    assert "3" in splits(dataset)
    write("val.csv", "val", (4, 5))
    assert dataset.run(val, options=KEEP) == {"listed": 2, "unchanged": 2, "deleted": 1}
    assert "3" not in splits(dataset)


@pytest.mark.parametrize("owner", ["p", "p/*.png", "p/1.png"])
def test_a_folder_holds_what_a_list_drops(tmp_path, folder, dataset, owner):
    some = tmp_path / "some.txt"
    some.write_text("p/0.png\np/1.png\n")
    for each in (tmp_path / owner, some):
        dataset.run(each)
    some.write_text("p/0.png\n")
    assert dataset.run(some) == {"listed": 1, "unchanged": 1}
    assert "1.png" in dataset.by_name()
    # The file is gone: it is no image any more, whoever names it.
    (folder / "1.png").unlink()
    if owner == "p":
        dataset.run(folder)
        assert "1.png" not in dataset.by_name()


def test_an_archive_that_a_list_drops_is_in_a_folder(tmp_path, dataset):
    (tmp_path / "p").mkdir()
    tar(tmp_path / "p" / "a.tar", [(f"{n}.png", picture(n)) for n in range(3)])
    write_image(tmp_path / "p" / "z.png", 9)
    some = tmp_path / "some.txt"
    some.write_text("p/a.tar\np/z.png\n")
    for each in (tmp_path / "p", some):
        dataset.run(each)
    some.write_text("p/z.png\n")
    assert dataset.run(some) == {"listed": 1, "unchanged": 1}
    assert len(dataset.rows()) == 4
    some.write_text("p/a.tar\np/z.png\n")
    dataset.run(some)
    # An image that its archive does not hold any more is gone, although a folder covers it.
    tar(tmp_path / "p" / "a.tar", [(f"{n}.png", picture(n)) for n in range(2)])
    assert dataset.run(some)["deleted"] == 1
    assert len(dataset.rows()) == 3


def test_another_encoders_inputs_own_nothing_here(tmp_path, folder, dataset, small_model_file):
    import encoder

    encoder.extract(small_model_file, tmp_path / "second", layer="pool1")
    dataset.run(folder, bundle=tmp_path / "second")
    some = tmp_path / "some.txt"
    some.write_text("p/0.png\np/1.png\n")
    dataset.run(some)
    some.write_text("p/0.png\n")
    assert dataset.run(some) == {"listed": 1, "unchanged": 1, "deleted": 1}


def test_the_first_in_the_order_given_wins_and_that_is_said(write, dataset):
    one, other = write("one.csv", "one", (0, 1)), write("other.csv", "other", (1, 2))
    output = dataset.job(other, one, options=KEEP)
    assert splits(dataset) == {"0": "one", "1": "other", "2": "other"}
    assert "note: --keep: 1 image named several times, with different values to keep" in output.out
    assert dataset.record()["repeated"] == 1
    assert dataset.record()["rows"] == dataset.record()["listed"] + 1
    dataset.run(one, other, options=KEEP)
    assert splits(dataset) == {"0": "one", "1": "one", "2": "other"}


def test_five_captions_of_one_image(tmp_path, folder, dataset):
    path = tmp_path / "captions.csv"
    rows = [f"p/{n}.png,caption {k} of {n}\n" for n in range(2) for k in range(5)]
    path.write_text("uri,caption\n" + "".join(rows))
    output = dataset.job(path, options=["--keep", "caption"])
    captions = {name: row["caption"] for name, row in dataset.by_name().items()}
    assert captions == {"0.png": "caption 0 of 0", "1.png": "caption 0 of 1"}
    assert "2 images named several times" in output.out
    record = dataset.record()
    assert (record["rows"], record["listed"], record["repeated"]) == (10, 2, 8)


def test_an_edited_label_is_no_nothing_to_do(write, dataset):
    path = write("train.csv", "train", range(3))
    dataset.run(path, options=KEEP)
    write("train.csv", "other", range(2))
    with path.open("a") as file:
        file.write("../p/2.png,train\n")
    output = dataset.job(path, options=KEEP)
    assert "nothing to do" not in output.out
    assert "renewed    2" in output.out
    assert dataset.record()["renewed"] == 2
    assert splits(dataset) == {"0": "other", "1": "other", "2": "train"}


def test_the_manifest_remembers_the_inputs(tmp_path, folder, dataset):
    some = tmp_path / "some.txt"
    some.write_text("p/0.png\n")
    dataset.run(folder, some, tmp_path / "p/*.png")
    (state,) = json.loads((dataset.folder / "manifest.json").read_text())["encoders"].values()
    assert [(each["base"], each["pattern"]) for each in state["inputs"]] == [
        (str(folder), ""),
        (str(folder), "*.png"),
    ]
