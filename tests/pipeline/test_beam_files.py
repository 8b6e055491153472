"""Images in S3 (moto's server), and in Azure and HDFS as Beam's own code reads them, over fakes."""

import datetime
import io
import json
import pathlib
import subprocess
import sys
import tarfile
import time
import types

import pyarrow.dataset as ds
import pytest
from apache_beam.io import hadoopfilesystem
from apache_beam.io.azure import blobstorageio
from apache_beam.io.filesystems import FileSystems
from apache_beam.options.pipeline_options import PipelineOptions

from encoder.errors import ChangedError, InputError, TooLargeError
from encoder.storage import store_for
from pipeline import other_stores
from pipeline.__main__ import main
from pipeline.beam_files import BeamStore
from tests.conftest import write_image

ROOT = pathlib.Path(__file__).parents[2]


@pytest.fixture(scope="module")
def server():
    """The address of an S3 server on 127.0.0.1."""
    from moto.moto_server.threaded_moto_server import ThreadedMotoServer

    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def s3(server, monkeypatch):
    """A client of that server, with an empty bucket of the name ``photos``."""
    import boto3

    from pipeline.s3 import client_for

    for name, value in {
        "AWS_ACCESS_KEY_ID": "made",
        "AWS_SECRET_ACCESS_KEY": "up",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_ENDPOINT_URL": server,
    }.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(FileSystems, "_pipeline_options", None)
    client = boto3.client("s3")
    client.create_bucket(Bucket="photos")
    yield client
    for each in client.list_objects_v2(Bucket="photos").get("Contents", ()):
        client.delete_object(Bucket="photos", Key=each["Key"])
    client.delete_bucket(Bucket="photos")
    client.close()
    client_for.cache_clear()


def put(s3, key, data=b"x"):
    s3.put_object(Bucket="photos", Key=key, Body=data)


def picture(tmp_path, seed, kind="png"):
    return write_image(tmp_path / "made" / f"{seed}.{kind}", seed).read_bytes()


def tar_of(members):
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as tar:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return file.getvalue()


@pytest.fixture
def shell(s3, small_bundle, tmp_path, capsys):
    """Runs a command over what is in the bucket; gives exit code, stdout and stderr."""

    def run(*more, command="run", source="s3://photos", bundle=small_bundle, output="out"):
        inputs = [source] if isinstance(source, str) else source
        place = output if "://" in output else tmp_path / output
        code = main(
            [command, *(word for text in inputs for word in ("--input", text))]
            + ["--encoder", str(bundle), "--output", str(place), *more]
        )
        return code, *capsys.readouterr()

    return run


def rows(tmp_path, kind="embeddings"):
    table = ds.dataset(tmp_path / "out" / kind, partitioning="hive").to_table()
    return {row["uri"].removeprefix("s3://photos/"): row for row in table.to_pylist()}


def counts(tmp_path):
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_text())
    run = list(manifest["runs"])[-1]
    record = json.loads((tmp_path / "out" / "runs" / f"{run}.json").read_text())
    names = ("listed", "new", "changed", "unchanged", "deleted", "embedded", "failed")
    return {name: record[name] for name in names if record[name]}


def test_the_store(s3):
    put(s3, "a/1.jpg", b"one")
    put(s3, "a/b [1]*#ü.jpg", b"two")
    put(s3, "a/folder/")
    put(s3, "ab.jpg")
    store = store_for("s3://photos")
    found = {info.path: info for info in store.list_files("s3://photos/a")}
    assert sorted(found) == ["s3://photos/a/1.jpg", "s3://photos/a/b [1]*#ü.jpg"]
    for path, info in found.items():
        assert store.stat(path) == info
        assert store.read(path, info.version)[1] == info
        with store.open(path, info.version) as file:
            assert len(file.read()) == info.bytes
    assert store.read("s3://photos/a/1.jpg")[0] == b"one"
    assert len(list(store.list_files("s3://photos"))) == 3
    assert store.stat("s3://photos/none.jpg") is None
    assert store.stat("s3://photos") is None
    assert store.modified("s3://photos/none.jpg") is None
    age = datetime.datetime.now(datetime.timezone.utc) - store.modified("s3://photos/ab.jpg")
    assert abs(age) < datetime.timedelta(minutes=5)
    assert store.is_folder("s3://photos/a")
    assert not store.is_folder("s3://photos/c")


def test_many_pages(s3):
    for number in range(1001):
        put(s3, f"{number}.jpg")
    assert len(list(store_for("s3://photos").list_files("s3://photos"))) == 1001


def test_what_is_read_is_what_was_listed(s3):
    put(s3, "a.jpg", b"one")
    path = "s3://photos/a.jpg"
    store = store_for(path)
    version = store.stat(path).version
    opened = store.open(path, version)
    put(s3, "a.jpg", b"two")
    assert store.stat(path).version != version
    with pytest.raises(ChangedError, match=r"a\.jpg has changed"):
        store.read(path, version)
    with pytest.raises(ChangedError, match=r"a\.jpg has changed"):
        store.open(path, version)
    with opened, pytest.raises(ChangedError, match=r"a\.jpg has changed"):
        opened.read()
    put(s3, "a.jpg", b"one")
    assert store.stat(path).version == version
    with pytest.raises(TooLargeError):
        store.read(path, most=2)


def test_reading_here_and_there(s3):
    data = bytes(range(256)) * 80_000  # several requests long
    put(s3, "a.bin", data)
    put(s3, "empty.bin", b"")
    with store_for("s3://photos").open("s3://photos/a.bin") as file:
        assert file.read(10) == data[:10]
        assert file.seek(-300, io.SEEK_END) == len(data) - 300
        assert file.read() == data[-300:]
        assert file.read() == b""
        file.seek(5)
        assert file.read() == data[5:]
    with store_for("s3://photos").open("s3://photos/empty.bin") as file:
        assert file.read() == b""
    assert store_for("s3://photos").read("s3://photos/empty.bin")[0] == b""


def test_errors_of_a_store(s3, monkeypatch):
    store = store_for("s3://photos")
    for call in (store.read, store.open):
        with pytest.raises(FileNotFoundError, match="s3://photos/none"):
            call("s3://photos/none")
    with pytest.raises(FileNotFoundError, match="s3://other.*bucket does not exist"):
        list(store.list_files("s3://other"))

    from pipeline.s3 import client_for

    client_for.cache_clear()
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    with pytest.raises(OSError, match="s3://photos/a: Could not connect"):
        store.read("s3://photos/a")
    client_for.cache_clear()
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/nowhere")
    with pytest.raises(PermissionError, match="s3://photos/a: no credentials for AWS"):
        store.read("s3://photos/a")


def test_denied(s3, monkeypatch):
    from botocore.exceptions import ClientError

    from pipeline import s3 as module

    def refuse(**_):
        answer = {"Error": {"Code": "AccessDenied"}, "ResponseMetadata": {"HTTPStatusCode": 403}}
        raise ClientError(answer, "GetObject")

    monkeypatch.setattr(module, "_client", lambda: types.SimpleNamespace(get_object=refuse))
    with pytest.raises(PermissionError, match=r"s3://photos/a: .*AccessDenied"):
        store_for("s3://photos").read("s3://photos/a")


@pytest.mark.parametrize("prefix", ["s3://", "hdfs://", "azfs://"])
def test_nothing_is_written(prefix):
    store = other_stores.InputStore()
    path = f"{prefix}photos/a"
    for call in (
        lambda: store.write(path, b""),
        lambda: store.create(path, b""),
        lambda: store.write_if(path, b"", None),
        lambda: store.delete(path),
    ):
        with pytest.raises(InputError, match=f"{prefix} is for input only"):
            call()


def test_a_life_of_a_dataset(s3, shell, tmp_path):
    for seed in range(6):
        put(s3, f"sub/{seed}.{'png' if seed else 'JPG'}", picture(tmp_path, seed))
    put(s3, "notes.txt")
    put(s3, "pack.tar", tar_of({"x/7.png": picture(tmp_path, 7), "8.png": picture(tmp_path, 8)}))
    put(s3, "broken.png", picture(tmp_path, 9)[:200])
    assert shell()[0] == 0
    assert counts(tmp_path) == {"listed": 9, "new": 9, "embedded": 8, "failed": 1}
    found = rows(tmp_path)
    assert {"sub/0.JPG", "sub/5.png", "pack.tar#x/7.png", "pack.tar#8.png"} < set(found)
    assert len(found) == 8
    etag = s3.head_object(Bucket="photos", Key="sub/1.png")["ETag"].strip('"')
    assert found["sub/1.png"]["version"] == etag
    assert rows(tmp_path, "failures")["broken.png"]["stage"] == "decode"

    assert "nothing to do" in shell()[1]
    assert counts(tmp_path) == {"listed": 9, "unchanged": 9}

    put(s3, "sub/1.png", picture(tmp_path, 11))
    s3.delete_object(Bucket="photos", Key="sub/2.png")
    code, out, _ = shell(command="plan")
    assert code == 0
    told = dict(line.split() for line in out.splitlines())
    assert told == {"listed": "8", "new": "0", "changed": "1", "unchanged": "7", "deleted": "1"}
    assert shell()[0] == 0
    assert counts(tmp_path) == {
        "listed": 8,
        "changed": 1,
        "unchanged": 7,
        "deleted": 1,
        "embedded": 1,
    }
    assert rows(tmp_path)["sub/1.png"]["embedding"] != found["sub/1.png"]["embedding"]
    assert "sub/2.png" not in rows(tmp_path)


def test_a_glob_leaves_the_rest_alone(s3, shell, tmp_path):
    for name in ("a/1.png", "a/2.jpg", "b/3.png"):
        put(s3, name, picture(tmp_path, len(name) + ord(name[0])))
    assert shell(source="s3://photos/**/*.png")[0] == 0
    assert set(rows(tmp_path)) == {"a/1.png", "b/3.png"}
    s3.delete_object(Bucket="photos", Key="b/3.png")
    assert shell(source="s3://photos/a/*.{png,jpg}")[0] == 0
    assert set(rows(tmp_path)) == {"a/1.png", "a/2.jpg", "b/3.png"}


def test_lists(s3, shell, tmp_path):
    for seed in range(3):
        put(s3, f"sub/{seed}.png", picture(tmp_path, seed))
    put(s3, "lists/there.csv", b"uri,label\n../sub/0.png,zero\ns3://photos/sub/1.png,one\n")
    here = tmp_path / "here.txt"
    here.write_text("s3://photos/sub/2.png\ns3://photos/sub/none.png\nftp://host/x.png\n")
    code, *_ = shell("--keep", "label", source=["s3://photos/lists/there.csv", str(here)])
    assert code == 0
    found = {uri: row["label"] for uri, row in rows(tmp_path).items()}
    assert found == {"sub/0.png": "zero", "sub/1.png": "one", "sub/2.png": None}
    failed = {uri: row["message"] for uri, row in rows(tmp_path, "failures").items()}
    assert failed["sub/none.png"] == "there is no such object"
    assert "unknown scheme ftp://" in failed[f"{here}#3"]


def test_archives(s3, shell, tmp_path):
    import zipfile

    import pyarrow as pa
    import pyarrow.parquet as pq

    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("1.png", picture(tmp_path, 1))
    put(s3, "a.zip", file.getvalue())
    file = io.BytesIO()
    pq.write_table(pa.table({"image": [picture(tmp_path, 2), picture(tmp_path, 3)]}), file)
    put(s3, "b.parquet", file.getvalue())
    source = ["s3://photos/a.zip", "s3://photos/b.parquet"]
    assert shell(source=source)[0] == 0
    assert set(rows(tmp_path)) == {"a.zip#1.png", "b.parquet#0", "b.parquet#1"}
    assert "nothing to do" in shell(source=source)[1]


def test_what_vanishes_or_changes_before_it_is_read(s3, shell, tmp_path, monkeypatch):
    from pipeline.s3 import S3Store

    for seed in range(4):
        put(s3, f"{seed}.png", picture(tmp_path, seed))
    listing = S3Store.list_files

    def meddle(self, folder):
        yield from listing(self, folder)
        s3.delete_object(Bucket="photos", Key="1.png")
        put(s3, "2.png", picture(tmp_path, 22))

    with monkeypatch.context() as patched:
        patched.setattr(S3Store, "list_files", meddle)
        assert shell()[0] == 0
    failed = rows(tmp_path, "failures")
    assert {uri: (row["stage"], row["error"]) for uri, row in failed.items()} == {
        "1.png": ("read", "FileNotFoundError"),
        "2.png": ("read", "ChangedError"),
    }
    assert shell()[0] == 0
    assert set(rows(tmp_path)) == {"0.png", "2.png", "3.png"}


def test_a_listing_that_fails_removes_nothing(s3, shell, tmp_path):
    put(s3, "1.png", picture(tmp_path, 1))
    assert shell()[0] == 0
    s3.delete_object(Bucket="photos", Key="1.png")
    code, _, err = shell()
    assert code == 1
    assert "--allow-empty" in err
    code, _, err = shell(source="s3://no-such-bucket")
    assert code == 1
    assert "s3://no-such-bucket" in err
    assert "bucket does not exist" in err
    assert set(rows(tmp_path)) == {"1.png"}


def test_an_encoder_in_a_bucket(s3, shell, small_bundle, tmp_path):
    put(s3, "images/1.png", picture(tmp_path, 1))
    for path in small_bundle.iterdir():
        put(s3, f"bundle/{path.name}", path.read_bytes())
    assert shell(source="s3://photos/images", bundle="s3://photos/bundle")[0] == 0
    assert set(rows(tmp_path)) == {"images/1.png"}


def test_options_reach_worker_processes(s3, server, shell, tmp_path, monkeypatch):
    put(s3, "1.png", picture(tmp_path, 1))
    put(s3, "list.csv", b"uri\n1.png\n")
    for name in ("AWS_ENDPOINT_URL", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    code, *_ = shell(
        *(f"--s3_endpoint_url={server}", "--s3_access_key_id=a", "--s3_secret_access_key=b"),
        *("--direct_num_workers=2", "--direct_running_mode=multi_processing"),
        source="s3://photos/list.csv",
    )
    assert code == 0
    assert set(rows(tmp_path)) == {"1.png"}


def test_outputs_are_refused(shell):
    code, _, err = shell(output="s3://photos/out")
    assert code == 2
    assert "--output 's3://photos/out': s3:// is for input only" in err
    code, _, err = shell(output="ftp://host/out")
    assert code == 2
    assert "--output 'ftp://host/out': unknown scheme ftp://" in err
    assert main(["status", "s3://photos/out"]) == 2


def test_unknown_schemes(shell):
    code, _, err = shell(source="ftp://host/x")
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
        code, _, err = shell(source=source)
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
    """Of the hdfs package what Beam uses, over a local folder; its errors in its words."""

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
    """A folder that is served as hdfs://data."""
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
    code, _, err = shell(source="hdfs://data")
    assert code == 2
    assert "--input hdfs://: hdfs_host is not set" in err


def test_hdfs(hdfs, shell, tmp_path):
    for name in ("1.png", "deep/er/2.png"):
        write_image(hdfs / name, len(name))
    (hdfs / "deep" / "empty.png").touch()
    (hdfs / "nothing.png").mkdir()
    for _ in range(2):
        assert shell(*HDFS_OPTIONS, source="hdfs://data")[0] == 0
    assert set(rows(tmp_path)) == {"hdfs://data/1.png", "hdfs://data/deep/er/2.png"}
    assert set(rows(tmp_path, "failures")) == {"hdfs://data/deep/empty.png"}
    assert counts(tmp_path) == {"listed": 3, "unchanged": 3}
    (hdfs / "1.png").unlink()
    assert shell(*HDFS_OPTIONS, source="hdfs://data")[0] == 0
    assert set(rows(tmp_path)) == {"hdfs://data/deep/er/2.png"}
    code, _, err = shell(*HDFS_OPTIONS, source="hdfs://none")
    assert code == 1
    assert "hdfs://none: File /none/ does not exist." in err


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
    """Of Azure's BlobServiceClient what Beam uses to list and look."""

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
    """An Azure container with a picture of each month, each written at half an hour past."""
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
    """Sets this process' time zone."""

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
