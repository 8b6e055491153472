import contextlib
import os
import pathlib
import socket
import subprocess
import threading

import pytest

from pipeline.inputs.files import Unreadable, list_files
from pipeline.inputs.source import parse_input
from pipeline.inputs.uris import path_of
from tests.conftest import write_image
from tests.support import folders


def errors(text):
    return {image.uri: image.error for image in list_files(parse_input(str(text)))}


def test_versions_follow_the_file(tmp_path):
    path = write_image(tmp_path / "a.jpg", 1)
    (before,) = list_files(parse_input(str(path)))
    assert before.bytes == path.stat().st_size
    os.utime(path, ns=(1, 1))
    (after,) = list_files(parse_input(str(path)))
    assert after.version == f"1-{before.bytes}" != before.version


def test_links(tmp_path):
    write_image(tmp_path / "real" / "a.jpg", 1)
    (tmp_path / "real" / "circle").symlink_to(tmp_path / "real")
    (tmp_path / "real" / "broken.jpg").symlink_to("nowhere")
    assert errors(tmp_path / "real") == {
        f"{tmp_path}/real/a.jpg": None,
        f"{tmp_path}/real/broken.jpg": "broken link to 'nowhere'",
    }


@pytest.mark.parametrize(
    "name",
    [b"a b.jpg", b"a#1.jpg", b"100%.jpg", b"[1].jpg", b"a\nb.jpg", "\N{CAT FACE}.jpg".encode()],
)
def test_odd_names_are_their_own_uri(tmp_path, name):
    path = tmp_path / os.fsdecode(name)
    path.touch()
    expected = {str(path): None}
    assert errors(tmp_path) == errors(path) == expected
    assert errors(f"{tmp_path}/*.jpg") == expected


@pytest.mark.parametrize("name", [b"\xff%.jpg", b"a\xe9/b #?.png", b"a.tar#b.jpg"])
def test_names_that_need_it_are_file_uris(tmp_path, name):
    path = tmp_path / os.fsdecode(name)
    path.parent.mkdir(exist_ok=True)
    path.touch()
    ((uri, error),) = errors(tmp_path).items()
    assert uri.startswith(pathlib.Path(tmp_path).as_uri())
    uri.encode()  # valid text
    assert (path_of(uri), error) == (str(path), None)
    assert errors(uri) == {uri: None}  # as an input, too


def test_folders_called_like_images(tmp_path):
    write_image(tmp_path / "x.jpg" / "y.png" / "a.jpg", 1)
    assert errors(tmp_path) == {f"{tmp_path}/x.jpg/y.png/a.jpg": None}
    assert errors(f"{tmp_path}/*.jpg") == {}


def test_what_is_no_file(tmp_path):
    os.mkfifo(tmp_path / "pipe.jpg")
    (tmp_path / "circle.jpg").symlink_to("circle.jpg")
    found = errors(tmp_path)
    assert found[f"{tmp_path}/pipe.jpg"] == "not a regular file: a named pipe"
    assert "symbolic links" in found[f"{tmp_path}/circle.jpg"]
    assert errors(tmp_path / "pipe.jpg") == {
        f"{tmp_path}/pipe.jpg": "not a regular file: a named pipe"
    }


def test_a_folder_that_vanishes_is_not_an_empty_one(tmp_path):
    folder = tmp_path / "images"
    folder.mkdir()
    parsed = parse_input(str(folder))
    folder.rmdir()
    with pytest.raises(FileNotFoundError):
        list(list_files(parsed))


def test_a_folder_that_may_not_be_entered(tmp_path, monkeypatch):
    write_image(tmp_path / "a.jpg", 1)
    write_image(tmp_path / "closed" / "b.jpg", 1)
    folders.close(monkeypatch, "closed")
    image, closed = list_files(parse_input(str(tmp_path)))
    assert image.uri == f"{tmp_path}/a.jpg"
    assert closed == Unreadable(f"{tmp_path}/closed", "Permission denied")
    with pytest.raises(PermissionError):
        list(list_files(parse_input(f"{tmp_path}/closed")))


def test_a_tree_deeper_than_pythons_stack(tmp_path):
    deepest = str(tmp_path)
    for _ in range(1500):
        deepest += "/d"
        os.mkdir(deepest)
    write_image(pathlib.Path(deepest, "a.png"), 1)
    try:
        assert list(errors(tmp_path)) == [f"{deepest}/a.png"]
    finally:  # pytest can't remove such a folder
        subprocess.run(["rm", "-rf", tmp_path / "d"], check=True)


def test_the_output_is_not_listed(tmp_path):
    write_image(tmp_path / "a.jpg", 1)
    write_image(tmp_path / "out" / "b.jpg", 1)
    parsed = parse_input(f"{tmp_path}/**", excluding=str(tmp_path / "out"))
    assert [image.uri for image in list_files(parsed)] == [f"{tmp_path}/a.jpg"]
    assert not parsed.covers(f"{tmp_path}/out/c.jpg")


def test_braces_with_a_hidden_folder(tmp_path):
    write_image(tmp_path / ".a" / "1.jpg", 1)
    write_image(tmp_path / "b" / "2.jpg", 1)
    assert len(errors(f"{tmp_path}/{{.a,b}}/*.jpg")) == 2
    assert len(errors(f"{tmp_path}/*/*.jpg")) == 1


def test_a_link_to_a_folder_that_may_not_be_entered(tmp_path, monkeypatch):
    """The images behind the link may still exist."""
    (tmp_path / "link").symlink_to("elsewhere")
    (tmp_path / "link.jpg").symlink_to("elsewhere")

    class Refusing:
        def __init__(self, entry):
            self.name = entry.name

        def is_dir(self):
            raise PermissionError(13, "Permission denied")

    scandir = os.scandir

    @contextlib.contextmanager
    def refusing(path):
        with scandir(path) as entries:
            yield [Refusing(entry) for entry in entries]

    monkeypatch.setattr("os.scandir", refusing)
    unreadable, image = list_files(parse_input(str(tmp_path)))
    assert unreadable == Unreadable(f"{tmp_path}/link", "Permission denied")
    assert image.uri == f"{tmp_path}/link.jpg"


def test_extensions_of_two_parts(tmp_path):
    (tmp_path / "A.TAR.GZ").touch()
    assert len(errors(f"{tmp_path}/*.tar.gz")) == 1


@pytest.fixture
def dead_mount(monkeypatch):
    """Whatever is in a folder "gone" never answers."""
    release = threading.Event()
    stat, scandir = os.stat, os.scandir

    def hanging(answer):
        def wait(path, *others, **options):
            if "/gone/" in f"{os.fspath(path)}/":
                release.wait(60)
            return answer(path, *others, **options)

        return wait

    monkeypatch.setattr("encoder.storage.local.os.stat", hanging(stat))
    monkeypatch.setattr("pipeline.inputs.files.os.scandir", hanging(scandir))
    yield
    release.set()


def test_a_folder_on_a_dead_mount_fails_the_listing(tmp_path, dead_mount):
    for name in ("a/1.jpg", "gone/2.jpg"):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).touch()
    found = list_files(parse_input(str(tmp_path)), seconds=0.3)
    assert next(found).uri == f"{tmp_path}/a/1.jpg"
    with pytest.raises(TimeoutError, match=r"nothing came for 0\.3 s.*--read-timeout"):
        next(found)


def test_what_is_not_a_regular_file_is_a_failure(tmp_path):
    os.mkfifo(tmp_path / "pipe.jpg")
    os.symlink("/proc/kmsg", tmp_path / "log.jpg")
    os.symlink("/dev/zero", tmp_path / "zeros.jpg")
    os.symlink("/sys/kernel/uevent_seqnum", tmp_path / "number.jpg")
    with contextlib.closing(socket.socket(socket.AF_UNIX)) as made:
        made.bind(str(tmp_path / "socket.jpg"))
        found = errors(tmp_path)
    assert found == {
        f"{tmp_path}/log.jpg": "not a regular file: the system makes up what is in it (proc)",
        f"{tmp_path}/number.jpg": "not a regular file: the system makes up what is in it (sysfs)",
        f"{tmp_path}/pipe.jpg": "not a regular file: a named pipe",
        f"{tmp_path}/socket.jpg": "not a regular file: a socket",
        f"{tmp_path}/zeros.jpg": "not a regular file: a device",
    }
