"""Whole runs with --allow-root: lists that name anything, links that lead anywhere."""

import pytest

from pipeline.__main__ import main
from tests.conftest import write_image
from tests.support.packed import picture, tar

SECRET = b"root:x:0:0:root:/root:/bin/bash\n"


@pytest.fixture
def place(tmp_path):
    """A folder with an image, a link out of it, and a list; and files elsewhere."""
    write_image(tmp_path / "data" / "a.png", 1)
    write_image(tmp_path / "data" / "b.png", 2)
    write_image(tmp_path / "else" / "c.png", 3)
    tar(tmp_path / "else" / "d.tar", [("e.png", picture(4))])
    (tmp_path / "else" / "passwd").write_bytes(SECRET)
    (tmp_path / "data" / "link.png").symlink_to("../else/passwd")
    names = ("a.png", "b.png", "link.png", "../else/c.png", "../else/d.tar", "../else/passwd")
    (tmp_path / "data" / "list.txt").write_text("\n".join(names))
    return tmp_path


def test_lists_and_links_reach_only_the_roots(place, dataset):
    record = dataset.run(
        place / "data" / "list.txt",
        options=["--allow-root", str(place / "data"), "--max-failure-ratio", "0.9"],
    )
    assert (record["embedded"], record["failed"]) == (2, 4)
    assert sorted(dataset.rows()) == ["data/a.png", "data/b.png"]
    for row in dataset.rows("failures").values():
        assert row["stage"] == "list"
        assert "outside of --allow-root" in row["message"]
        assert "root:" not in row["message"]
    again = dataset.run(
        place / "data" / "list.txt",
        options=["--allow-root", str(place), "--max-failure-ratio", "0.9"],
    )
    assert (again["embedded"], again["failed"]) == (2, 2)  # the text, also behind the link
    for row in dataset.rows("failures").values():
        assert "but text (32 bytes)" in row["message"]


def test_a_list_in_a_bucket_does_not_reach_local_files(place, dataset, gcs):
    gcs.buckets["bucket"].put("list.txt", f"{place}/data/a.png\ngs://bucket/b.png\n".encode())
    gcs.buckets["bucket"].put("b.png", (place / "data" / "b.png").read_bytes())
    record = dataset.run("gs://bucket/list.txt")
    assert (record["embedded"], record["failed"]) == (1, 1)
    (failure,) = dataset.rows("failures").values()
    assert f"--allow-root {place}/data would allow it" in failure["message"]
    roots = ["--allow-root", str(place / "data"), "--allow-root", "gs://bucket"]
    record = dataset.run("gs://bucket/list.txt", options=roots)
    assert (record["embedded"], record["unchanged"]) == (1, 1)
    assert "failed" not in record


@pytest.mark.parametrize("command", ["run", "plan"])
def test_a_wrong_root_is_a_wrong_command_line(command, place, dataset, small_bundle, capsys):
    words = ("--input", str(place / "data"), "--encoder", str(small_bundle))
    for root in (" ", "missing", "gs://bucket/*"):
        out = str(place / "out")
        assert main([command, *words, "--output", out, "--allow-root", root]) == 2
        assert "--allow-root" in capsys.readouterr().err
