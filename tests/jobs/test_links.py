"""Runs over folders with symbolic links: each file has one row."""

import json
import os
import shutil
import zipfile

import pytest

from tests.conftest import write_image


@pytest.fixture
def photos(tmp_path):
    """Photos and an archive in a folder, with links to them and to a folder elsewhere."""
    for folder in ("in/real", "elsewhere"):
        for number in range(3):
            write_image(tmp_path / folder / f"{number}.png", number)
    with zipfile.ZipFile(tmp_path / "in/real/packed.zip", "w") as archive:
        archive.write(tmp_path / "in/real/0.png", "inner.png")
    shutil.copy(tmp_path / "in/real/packed.zip", tmp_path / "elsewhere")
    return tmp_path


REAL = {*(f"in/real/{n}.png" for n in range(3)), "in/real/packed.zip#inner.png"}
LINKED = {name.replace("in/real", "in/a") for name in REAL}


def test_each_file_has_one_row(photos, dataset):
    for name, target in (("link", "real"), ("b", "../elsewhere"), ("a", "../elsewhere")):
        (photos / "in" / name).symlink_to(target)
    dataset.run(photos / "in")
    assert set(dataset.rows()) == REAL | LINKED
    counts = dataset.run(photos / "in" / "link", photos / "in", f"{photos}/in/*/*.png")
    assert counts == {"listed": 8, "unchanged": 8}
    assert dataset.record()["repeated"] > 0


def test_rows_of_an_earlier_run_under_the_name_of_a_link(photos, dataset):
    (photos / "link").symlink_to("in/real")
    dataset.run(photos / "link")
    assert all(name.startswith("link/") for name in dataset.rows())
    # The input that is a link does list images: nothing has to be allowed.
    counts = dataset.run(photos / "link", photos / "in", options=["--allow-deletes"])
    assert counts == {"listed": 4, "new": 4, "deleted": 4, "embedded": 4}
    assert dataset.record()["copied"] == 4
    assert set(dataset.rows()) == REAL
    assert dataset.run(photos / "in", photos / "link") == {"listed": 4, "unchanged": 4}


def test_links_in_several_inputs_to_files_elsewhere(photos, dataset):
    (photos / "other").mkdir()
    os.rename(photos / "elsewhere", photos / os.fsdecode(b"else\xffwhere"))
    for name in ("in/z", "other/a"):
        (photos / name).symlink_to(photos / os.fsdecode(b"else\xffwhere"))
    for inputs in (("in", "other"), ("other", "in")):
        dataset.run(*(photos / each for each in inputs))
        found = {name.replace("in/z", "in/a") for name in dataset.rows()}
        assert found == REAL | LINKED
    assert dataset.counts()["unchanged"] == 8


def test_a_list_that_two_links_lead_to_is_read_once(photos, dataset):
    rows = [{"uri": f"{n}.png", "n": n} for n in range(3)]
    (photos / "elsewhere" / "list.jsonl").write_text("\n".join(map(json.dumps, rows)))
    for name in ("a", "b"):
        (photos / "in" / name).symlink_to("../elsewhere")
    dataset.run(f"{photos}/in/*/*.jsonl", options=["--keep", "n"])
    assert {name: row["n"] for name, row in dataset.rows().items()} == {
        f"in/a/{n}.png": n for n in range(3)
    }
    assert dataset.record()["rows"] == 3
