"""Images in Azure and HDFS, which Beam reads from fakes, and stores that are refused."""

import datetime
import io
import pathlib
import subprocess
import sys
import time
import types

import pytest
from apache_beam.io import hadoopfilesystem
from apache_beam.io.azure import blobstorageio
from apache_beam.io.filesystems import FileSystems
from apache_beam.options.pipeline_options import PipelineOptions

from encoder.errors import ChangedError, InputError, TooLargeError
from encoder.storage.ranged_file import opened_in_ranges
from pipeline.inputs.stores.beam import BeamStore
from pipeline.inputs.stores.read_only import InputStore
from tests.conftest import write_image

ROOT = pathlib.Path(__file__).parents[4]


@pytest.fixture
def shell(dataset):
    """A function that runs the job, and returns exit code and stderr."""

    def run(source, *more):
        done = dataset.job(source, options=more)
        return done.code, done.err

    return run


@pytest.mark.parametrize("prefix", ["s3://", "hdfs://", "azfs://"])
def test_nothing_is_written(prefix):
    store = InputStore()
    path = f"{prefix}photos/a"
    for call in (
        lambda: store.write(path, b""),
        lambda: store.create(path, b""),
        lambda: store.write_if(path, b"", None),
        lambda: store.delete(path),
    ):
        with pytest.raises(InputError, match=f"{prefix} is for input only"):
            call()


def test_ranges_are_few():
    data, asked = bytes(range(256)) * 80_000, []

    def fetch(start, end):
        asked.append((start, end))
        return data[start:end]

    with opened_in_ranges(len(data), fetch) as file:
        assert file.read(10) == data[:10]
        assert file.read(20_000) == data[10:20_010]
        assert asked == [(0, 256 << 10)]
        assert file.seek(-300, io.SEEK_END) == len(data) - 300
        assert file.read() == data[-300:]
        assert file.read() == b""
        file.seek(5)
        assert file.read() == data[5:]
        assert len(asked) <= 9
        sizes = [end - start for start, end in asked[2:]]
        assert max(sizes) == 8 << 20
        file.seek(len(data) + 5)
        assert file.read() == b""
    assert opened_in_ranges(0, fetch).read() == b""


def test_unknown_schemes(shell):
    code, err = shell("ftp://host/x")
    assert code == 2
    assert "--input 'ftp://host/x': unknown scheme ftp://; expected a local path or azfs://" in err
    assert "gs://, hdfs://, s3://" in err


@pytest.mark.parametrize(
    ("package", "scheme", "extra"),
    [("boto3", "s3", "aws"), ("hdfs", "hdfs", "hadoop"), ("azure.storage.blob", "azfs", "azure")],
)
def test_a_missing_package(shell, monkeypatch, package, scheme, extra):
    monkeypatch.setitem(sys.modules, package, None)
    for source in (f"{scheme}://photos", f"{scheme}://photos/*.jpg", f"{scheme}://photos/a.csv"):
        code, err = shell(source)
        assert code == 2
        assert err.startswith(f"error: --input {scheme}:// needs a package")
        assert f"pip install 'apache-beam[{extra}]'" in err


def test_importing_the_package_brings_none_of_it():
    code = "import pipeline, sys; print({'boto3', 'apache_beam', 'hdfs'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.stdout.strip() == "set()"


class HdfsError(Exception):
    pass


class HdfsClient:
    """The part of the hdfs package that Beam uses, over a local folder, with the same errors."""

    root: pathlib.Path

    def __init__(self, url, user):
        pass

    def _at(self, path):
        return self.root / path.strip("/")

    def status(self, path, strict=True):
        if not self._at(path).exists():
            if strict:
                raise HdfsError(f"File {path} does not exist.")
            return None
        state = self._at(path).stat()
        folder = self._at(path).is_dir()
        return {
            "length": 0 if folder else state.st_size,
            "modificationTime": state.st_mtime_ns // 1_000_000,
            "type": "DIRECTORY" if folder else "FILE",
        }

    def list(self, path, status):
        if self.status(path)["type"] == "FILE":
            raise HdfsError(f"'{path}' is not a directory.")
        return [
            (each.name, self.status(f"{path}/{each.name}")) for each in self._at(path).iterdir()
        ]

    def read(self, path, offset, length):
        return io.BytesIO(self._at(path).read_bytes()[offset : offset + length])


@pytest.fixture
def hdfs(tmp_path, monkeypatch):
    """A folder, served as hdfs://data."""
    module = types.ModuleType("hdfs")
    module.InsecureClient, module.HdfsError = HdfsClient, HdfsError
    monkeypatch.setitem(sys.modules, "hdfs", module)
    monkeypatch.setattr(hadoopfilesystem, "hdfs", module)
    monkeypatch.setattr(HdfsClient, "root", tmp_path / "hdfs", raising=False)
    monkeypatch.setattr(FileSystems, "_pipeline_options", None)
    (tmp_path / "hdfs" / "data").mkdir(parents=True)
    return tmp_path / "hdfs" / "data"


HDFS_OPTIONS = ("--hdfs_host=host", "--hdfs_port=9870", "--hdfs_user=me")


def test_hdfs_needs_options(hdfs, shell):
    code, err = shell("hdfs://data")
    assert code == 2
    assert "--input hdfs://: hdfs_host is not set" in err


def test_hdfs(hdfs, shell, tmp_path, dataset):
    for name in ("1.png", "deep/er/2.png"):
        write_image(hdfs / name, len(name))
    (hdfs / "deep" / "empty.png").touch()
    (hdfs / "nothing.png").mkdir()
    for _ in range(2):
        assert shell("hdfs://data", *HDFS_OPTIONS)[0] == 0
    assert set(dataset.rows()) == {"hdfs://data/1.png", "hdfs://data/deep/er/2.png"}
    assert set(dataset.rows("failures")) == {"hdfs://data/deep/empty.png"}
    assert dataset.counts() == {"listed": 3, "unchanged": 3}
    (hdfs / "1.png").unlink()
    assert shell("hdfs://data", *HDFS_OPTIONS)[0] == 0
    assert set(dataset.rows()) == {"hdfs://data/deep/er/2.png"}
    code, err = shell("hdfs://none", *HDFS_OPTIONS)
    assert code == 2
    assert "--input hdfs://none: hdfs://none: File /none/ does not exist." in err


def test_what_beam_reads_is_what_was_listed(hdfs):
    FileSystems.set_options(PipelineOptions(HDFS_OPTIONS))
    path = "hdfs://data/a"
    (hdfs / "a").write_bytes(b"0123456789")
    store = BeamStore("hdfs://")
    info = store.stat(path)
    assert store.read(path, info.version) == (b"0123456789", info)
    assert store.modified(path).timestamp() == pytest.approx((hdfs / "a").stat().st_mtime, abs=0.01)
    with store.open(path, info.version) as file:
        file.seek(-3, io.SEEK_END)
        assert file.read() == b"789"
    with pytest.raises(TooLargeError):
        store.read(path, most=9)
    (hdfs / "a").write_bytes(b"0123")
    for call in (store.read, store.open):
        with pytest.raises(ChangedError):
            call(path, info.version)
        with pytest.raises(FileNotFoundError, match="hdfs://data/none"):
            call("hdfs://data/none")
    assert store.stat("hdfs://data/none") is None
    assert store.modified("hdfs://data/none") is None
    assert store.is_folder("hdfs://data")
    (hdfs / "folder").mkdir()
    for name in ("ab", "b", "folder/a"):
        (hdfs / name).touch()
    assert {info.path for info in store.list_files("hdfs://data", "", deep=False)} == {
        *(f"hdfs://data/{name}" for name in ("a", "ab", "b"))
    }
    assert {info.path for info in store.list_files("hdfs://data", "a")} == {
        *(f"hdfs://data/{name}" for name in ("a", "ab"))
    }


def test_what_changes_while_beam_reads_it(hdfs, monkeypatch):
    FileSystems.set_options(PipelineOptions(HDFS_OPTIONS))
    (hdfs / "a").write_bytes(b"old")
    read = HdfsClient.read

    def slow(self, path, offset, length):
        data = read(self, path, offset, length)
        (hdfs / "a").write_bytes(b"newer")
        return data

    monkeypatch.setattr(HdfsClient, "read", slow)
    with pytest.raises(ChangedError, match="changed while it was read"):
        BeamStore("hdfs://").read("hdfs://data/a")


class AzureError(Exception):
    def __init__(self, status_code):
        super().__init__("refused")
        self.status_code = self.reason = status_code


class AzureClient:
    """The part of Azure's BlobServiceClient that Beam uses to list and stat blobs."""

    blobs: dict
    refused = 0

    def __init__(self, account_url, credential):
        pass

    def get_container_client(self, container):
        return self

    def list_blobs(self, name_starts_with):
        if self.refused:
            raise AzureError(self.refused)
        return [blob for name, blob in self.blobs.items() if name.startswith(name_starts_with)]

    def get_blob_client(self, container, name):
        def properties():
            if name not in self.blobs:
                raise AzureError(404)
            return self.blobs[name]

        return types.SimpleNamespace(get_blob_properties=properties)


@pytest.fixture
def azure(monkeypatch):
    """An Azure container with an image of each month, each written at half past an hour."""
    for name, value in {
        "BlobServiceClient": AzureClient,
        "ResourceNotFoundError": AzureError,
        "AZURE_DEPS_INSTALLED": True,
    }.items():
        monkeypatch.setattr(blobstorageio, name, value, raising=False)
    written = [datetime.datetime(2026, month, 25, 1, 30, 7) for month in range(1, 13)]
    blobs = {
        f"p/{time.month}.jpg": types.SimpleNamespace(
            name=f"p/{time.month}.jpg",
            size=time.month,
            etag="x",
            last_modified=time.replace(tzinfo=datetime.timezone.utc),
        )
        for time in written
    }
    monkeypatch.setattr(AzureClient, "blobs", blobs, raising=False)
    monkeypatch.setattr(FileSystems, "_pipeline_options", PipelineOptions([]))
    return BeamStore("azfs://")


@pytest.fixture
def time_zone(monkeypatch):
    """A function that sets the time zone of this process."""

    def put(name):
        monkeypatch.setenv("TZ", name)
        time.tzset()

    yield put
    monkeypatch.undo()
    time.tzset()


def test_versions_do_not_depend_on_the_time_zone(azure, time_zone):
    folder = "azfs://account/container/p"
    seen = []
    for name in ("UTC", "Europe/Berlin", "America/St_Johns", "Asia/Kolkata", "Australia/Sydney"):
        time_zone(name)
        seen.append(sorted(azure.list_files(folder)))
        assert azure.stat(f"{folder}/7.jpg") in seen[-1]
    assert all(each == seen[0] for each in seen)
    assert len(seen[0]) == 12
    july = datetime.datetime(2026, 7, 25, 1, 30, 7, tzinfo=datetime.timezone.utc)
    assert azure.modified(f"{folder}/7.jpg") == july
    assert azure.stat(f"{folder}/7.jpg").version == f"{int(july.timestamp())}000-7"


def test_errors_of_azure(azure, monkeypatch):
    assert azure.stat("azfs://account/container/p/none.jpg") is None
    for code, kind in {403: PermissionError, 404: FileNotFoundError, 500: OSError}.items():
        monkeypatch.setattr(AzureClient, "refused", code)
        with pytest.raises(kind, match="azfs://account/container/p: refused"):
            list(azure.list_files("azfs://account/container/p"))
