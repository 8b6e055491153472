import errno
import json
import os
import subprocess
import sys

import pytest

from encoder.errors import ChangedError, ClaimedError, InputError
from encoder.storage import file_systems, replacing
from encoder.storage.local import LocalStore
from encoder.storage.replacing import ONE, SEVERAL, UNSAFE, check_commits, claim_path, sharing_of

# Two machines: the lock of the one does not reach the other, and each has a name of its own.
COUNTING = """
import contextlib, os, sys
from encoder.errors import ChangedError
from encoder.storage import local
path, machine, count = sys.argv[1:]
local.sharing_of = lambda folder: "several machines"
local.locked = lambda folder, needed: contextlib.nullcontext(True)
local.machine_of = lambda folder, has_lock: machine
store = local.LocalStore()
done = 0
while done < int(count):
    try:
        data, info = store.read(path)
        store.write_if(path, data + f"{machine}-{done}\\n".encode(), info.version)
        done += 1
    except ChangedError:
        continue
"""
MOUNTS = r"""22 27 0:21 / /proc rw,relatime - proc proc rw
27 1 254:0 / / rw,relatime - ext4 /dev/vda rw
40 27 0:50 / /mnt/my\040share rw,relatime shared:2 - nfs4 server:/x rw,vers=4.2,local_lock=none
41 40 0:51 / /mnt/my\040share/fast rw - xfs /dev/vdb rw
42 27 0:52 / /mnt/ssh rw - fuse.sshfs host:/x rw
43 27 0:53 / /mnt/smb rw - cifs //host/x rw
44 27 0:54 / /mnt/bucket rw - fuse.gcsfuse bucket rw
45 27 0:55 / /mnt/s3 rw - fuse.s3fs s3fs rw
46 27 0:56 / /mnt/odd rw - fuse.something x rw
47 27 0:57 / /mnt/usb rw - exfat /dev/sdb1 rw
"""


@pytest.fixture
def mounts(tmp_path, monkeypatch):
    """A system with mounts of many kinds."""
    (tmp_path / "mountinfo").write_text(MOUNTS)
    monkeypatch.setattr(file_systems, "_MOUNTS", str(tmp_path / "mountinfo"))


@pytest.fixture
def shared(tmp_path, monkeypatch):
    """A folder on a file system of several machines."""
    folder = tmp_path / "shared"
    folder.mkdir()
    text = f"1 1 254:0 / / rw - ext4 x rw\n2 1 0:9 / {folder} rw - nfs4 server:/x rw\n"
    (tmp_path / "mountinfo").write_text(text)
    monkeypatch.setattr(file_systems, "_MOUNTS", str(tmp_path / "mountinfo"))
    return folder


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/data/x", ONE),
        ("/mnt/my share", SEVERAL),
        ("/mnt/my share/out/new", SEVERAL),
        ("/mnt/my share/fast/out", ONE),
        ("/mnt/my shared/out", ONE),
        ("/mnt/ssh/out", SEVERAL),
        ("/mnt/smb/out", SEVERAL),
        ("/mnt/odd/out", SEVERAL),
        ("/mnt/usb/out", ONE),
        ("/mnt/bucket/out", UNSAFE),
        ("/mnt/s3", UNSAFE),
    ],
)
def test_file_systems_of_one_machine_and_of_several(mounts, path, expected):
    assert sharing_of(path) == expected


def test_this_machine_states_its_mounts():
    assert sharing_of("/proc") == (SEVERAL if sys.platform == "linux" else ONE)


def test_nothing_is_committed_on_the_mount_of_a_bucket(mounts):
    check_commits("/mnt/my share/out")
    with pytest.raises(InputError, match=r"'/mnt/bucket/out' is on fuse.gcsfuse.*gs://BUCKET"):
        check_commits("/mnt/bucket/out")
    with pytest.raises(InputError, match=r"fuse\.s3fs"):
        LocalStore().write_if("/mnt/s3/out/manifest.json", b"x", None)


def test_machines_whose_locks_do_not_reach_each_other_lose_no_commit(tmp_path):
    path = tmp_path / "manifest.json"
    path.write_bytes(b"")
    count = 60
    machines = [
        subprocess.Popen([sys.executable, "-c", COUNTING, str(path), f"machine{n}", str(count)])
        for n in range(3)
    ]
    assert [each.wait(120) for each in machines] == [0, 0, 0]
    lines = path.read_text().split()
    assert len(lines) == len(set(lines)) == 3 * count


def test_the_claim_of_a_killed_process_of_this_machine_is_taken_over(shared, monkeypatch):
    path = str(shared / "manifest.json")
    store = LocalStore()
    store.write_if(path, b"one", None)
    version = store.stat(path).version
    with monkeypatch.context() as patch:
        patch.setattr(LocalStore, "write", _killed)
        with pytest.raises(KeyboardInterrupt):
            store.write_if(path, b"two", version)
    assert os.path.exists(claim_path(path, version))
    store.write_if(path, b"three", version)
    assert store.read(path)[0] == b"three"


def test_the_claim_of_another_machine_stays(shared):
    path = str(shared / "manifest.json")
    store = LocalStore()
    store.write_if(path, b"one", None)
    version = store.stat(path).version
    for content in (json.dumps({"machine": "other", "token": "x"}), "", "[]", '{"machine":'):
        place = claim_path(path, version)
        with open(place, "w") as file:
            file.write(content)
        with pytest.raises(ClaimedError, match=f"delete {place}"):
            store.write_if(path, b"two", version)
        assert store.read(path)[0] == b"one"
    os.remove(place)
    store.write_if(path, b"two", version)
    with pytest.raises(ChangedError, match="somebody else"):
        store.write_if(path, b"three", version)


@pytest.mark.parametrize("code", [errno.EPERM, errno.ENOTSUP, errno.ENOSYS])
def test_file_systems_without_links(shared, monkeypatch, code):
    def no_links(*_):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "link", no_links)
    path = str(shared / "manifest.json")
    for version in (None, "1-2"):
        replacing.claim(path, version, "this")
        replacing.claim(path, version, "this")
        with pytest.raises(ClaimedError):
            replacing.claim(path, version, "other")
    assert not [name for name in os.listdir(shared) if name.endswith(".tmp")]


def test_old_claims_go(shared):
    path = str(shared / "manifest.json")
    store = LocalStore()
    versions = [None]
    for n in range(4):
        store.write_if(path, b"x" * (n + 1), versions[-1])
        versions.append(store.stat(path).version)
    places = [claim_path(path, version) for version in versions[:4]]
    assert all(map(os.path.exists, places))
    for place in places[:3]:
        state = os.stat(place)
        os.utime(place, (state.st_atime, state.st_mtime - 2 * 24 * 3600))
    store.write_if(path, b"last", versions[-1])
    assert [os.path.exists(place) for place in places] == [False, False, False, True]


def test_a_file_system_of_one_machine_needs_no_claim(tmp_path):
    path = str(tmp_path / "manifest.json")
    LocalStore().write_if(path, b"one", None)
    assert os.listdir(tmp_path) == ["manifest.json"]


def _killed(*_):
    raise KeyboardInterrupt


@pytest.mark.parametrize("code", [errno.EBADF, errno.ENOLCK, errno.EOPNOTSUPP])
def test_file_systems_that_refuse_locks(shared, tmp_path, monkeypatch, code):
    def refuse(*_):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr("fcntl.flock", refuse)
    store, path = LocalStore(), str(shared / "manifest.json")
    store.write_if(path, b"first", None)
    version = store.stat(path).version
    # Without a lock, the claim of another process of this machine may be that of a living one.
    replacing.claim(path, version, replacing.machine_of(str(shared), has_lock=True))
    with pytest.raises(ClaimedError):
        store.write_if(path, b"second", version)
    assert store.read(path)[0] == b"first"
    with pytest.raises(OSError, match=os.strerror(code)):  # there, only the lock could decide
        store.write_if(str(tmp_path / "manifest.json"), b"first", None)
