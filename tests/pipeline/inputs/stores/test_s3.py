"""Images in S3, with moto's server in place of S3."""

import datetime
import io
import tarfile
import zipfile

import boto3
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from apache_beam.io.filesystems import FileSystems
from botocore.awsrequest import AWSResponse
from botocore.exceptions import ClientError, ReadTimeoutError
from botocore.response import StreamingBody
from urllib3.response import HTTPResponse

from encoder.errors import ChangedError, TooLargeError
from encoder.storage.registry import store_for
from encoder.storage.retries import take_retries
from pipeline.__main__ import main
from pipeline.inputs.stores import name_ranges
from pipeline.inputs.stores import s3 as s3_module
from pipeline.inputs.stores.name_ranges import NameRange, list_ranges
from pipeline.inputs.stores.s3 import S3Store, client_for
from tests.conftest import write_image
from tests.support.dataset import Dataset

pytestmark = pytest.mark.slow


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
    """A client of that server, with an empty bucket ``photos``."""
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
def dataset(small_bundle, tmp_path, capsys):
    """A dataset of the images in the bucket."""
    return Dataset(tmp_path / "out", small_bundle, "s3://photos", capsys)


@pytest.fixture
def shell(s3, dataset):
    """A function that runs a command over the bucket; returns exit code, stdout and stderr."""

    def run(*more, source="s3://photos", **settings):
        inputs = [source] if isinstance(source, str) else source
        return dataset.job(*inputs, options=more, **settings)

    return run


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
    assert [info.path for info in store.list_files("s3://photos", "a", deep=False)] == [
        "s3://photos/ab.jpg"
    ]
    assert store.is_folder("s3://photos/a")
    assert not store.is_folder("s3://photos/c")


def test_many_pages(s3, monkeypatch):
    for number in range(5):
        put(s3, f"{number}.jpg")
    with monkeypatch.context() as patched:
        patched.setenv("MOTO_S3_DEFAULT_MAX_KEYS", "2")
        assert s3.list_objects_v2(Bucket="photos")["KeyCount"] == 2
        assert len(list(store_for("s3://photos").list_files("s3://photos"))) == 5


def test_ranges_of_names(s3, monkeypatch):
    """S3 lists what comes after a name; a range begins with its first name."""
    monkeypatch.setattr(name_ranges, "PAGES_ALONE", 2)
    monkeypatch.setattr(name_ranges, "_PAGES", 1)
    names = [
        *(f"p/{n:03}.jpg" for n in range(40)),
        "p/",
        "p/0",
        "p/00",
        "p/é/ü.jpg",
        "p/\ue000",
        "q",
    ]
    for name in names:
        put(s3, name)
    store = store_for("s3://photos")
    some = [f"s3://photos/{name}" for name in sorted(names)]
    with monkeypatch.context() as patched:
        patched.setenv("MOTO_S3_DEFAULT_MAX_KEYS", "5")
        for span in (("", None), (some[0], None), (some[3], some[9]), (some[-2], None)):
            whole = NameRange("s3://photos/", True, *span)
            found = [info.path for page in store.pages(*whole) for info in page.files]
            assert set(found) >= {path for path in some if whole.holds(path)}
            assert len(found) <= sum(map(whole.holds, some)) + 5
        turn = name_ranges.list_start(NameRange("s3://photos/p/"))
        assert len(turn.rest) >= 4
        found = [*turn.files]
        for _, each in list_ranges([(0, rest) for rest in turn.rest], hands_on=False):
            found += each.files
        assert sorted(found) == sorted(store.list_files("s3://photos/p"))
    assert not store.is_ordered("s3://photos--use1-az5--x-s3/p/")


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


def test_what_is_not_there(s3):
    store = store_for("s3://photos")
    for call in (store.read, store.open):
        with pytest.raises(FileNotFoundError, match="s3://photos/none does not exist"):
            call("s3://photos/none")
    for call in (store.list_files, store.read):
        with pytest.raises(FileNotFoundError, match="there is no bucket s3://other"):
            list(call("s3://other/x"))


def test_no_answer(s3, monkeypatch):
    client_for.cache_clear()
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    with pytest.raises(TimeoutError, match=r"s3://photos/a: no answer, .*Could not connect"):
        store_for("s3://photos").read("s3://photos/a")


@pytest.mark.parametrize("breaks", [2, 3])
def test_an_answer_that_breaks_off(s3, monkeypatch, breaks):
    put(s3, "a.jpg", b"one")
    read, broken = StreamingBody.read, [ReadTimeoutError(endpoint_url="s3")] * breaks

    def read_or_break(self, amt=None):
        if broken:
            raise broken.pop()
        return read(self, amt)

    monkeypatch.setattr(StreamingBody, "read", read_or_break)
    if breaks == 2:
        assert store_for("s3://photos").read("s3://photos/a.jpg")[0] == b"one"
    else:
        with pytest.raises(TimeoutError, match=r"a\.jpg: no answer"):
            store_for("s3://photos").read("s3://photos/a.jpg")
    broken.clear()


def refusing(code, status):
    def refuse(**_):
        answer = {"Error": {"Code": code}, "ResponseMetadata": {"HTTPStatusCode": status}}
        raise ClientError(answer, "GetObject")

    return refuse


def test_denied(s3, monkeypatch):
    monkeypatch.setattr(s3_module._client(), "get_object", refusing("AccessDenied", 403))
    with pytest.raises(PermissionError, match=r"s3://photos/a: .*AccessDenied"):
        store_for("s3://photos").read("s3://photos/a")
    monkeypatch.setattr(s3_module._client(), "get_object", refusing("SlowDown", 503))
    with pytest.raises(OSError, match=r"s3://photos/a: .*SlowDown"):
        store_for("s3://photos").read("s3://photos/a")


@pytest.fixture
def no_credentials(s3, monkeypatch):
    client_for.cache_clear()
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/nowhere")
    monkeypatch.setenv("AWS_CONFIG_FILE", "/nowhere")


def test_without_credentials(s3, no_credentials, monkeypatch):
    s3.put_object(Bucket="photos", Key="public.jpg", Body=b"one", ACL="public-read")
    put(s3, "a.jpg")
    assert store_for("s3://photos").read("s3://photos/public.jpg")[0] == b"one"
    with pytest.raises(PermissionError, match=r"a\.jpg: not public, and no credentials for AWS"):
        store_for("s3://photos").read("s3://photos/a.jpg")
    client_for.cache_clear()
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "half")
    with pytest.raises(PermissionError, match=r"a\.jpg: the credentials for AWS can't be used"):
        store_for("s3://photos").read("s3://photos/a.jpg")


def test_a_life_of_a_dataset(s3, shell, tmp_path, dataset):
    for seed in range(6):
        put(s3, f"sub/{seed}.{'png' if seed else 'JPG'}", picture(tmp_path, seed))
    put(s3, "notes.txt")
    put(s3, "pack.tar", tar_of({"x/7.png": picture(tmp_path, 7), "8.png": picture(tmp_path, 8)}))
    put(s3, "broken.png", picture(tmp_path, 9)[:200])
    assert shell()[0] == 0
    assert dataset.counts() == {"listed": 9, "new": 9, "embedded": 8, "failed": 1}
    found = dataset.rows()
    assert {"sub/0.JPG", "sub/5.png", "pack.tar#x/7.png", "pack.tar#8.png"} < set(found)
    assert len(found) == 8
    etag = s3.head_object(Bucket="photos", Key="sub/1.png")["ETag"].strip('"')
    assert found["sub/1.png"]["version"] == etag
    assert dataset.rows("failures")["broken.png"]["stage"] == "decode"

    assert "nothing to do" in shell()[1]
    assert dataset.counts() == {"listed": 9, "unchanged": 9}

    put(s3, "sub/1.png", picture(tmp_path, 11))
    s3.delete_object(Bucket="photos", Key="sub/2.png")
    code, out, _ = shell(command="plan")
    assert code == 0
    counted = [line for line in out.splitlines() if not line.startswith(("note: ", "to read"))]
    told = [line.split() for line in counted if not line.endswith(" 0")]
    assert told == [["listed", "8"], ["changed", "1"], ["unchanged", "7"], ["deleted", "1"]]
    assert shell()[0] == 0
    assert dataset.counts() == {
        "listed": 8,
        "changed": 1,
        "unchanged": 7,
        "deleted": 1,
        "embedded": 1,
    }
    assert dataset.rows()["sub/1.png"]["embedding"] != found["sub/1.png"]["embedding"]
    assert "sub/2.png" not in dataset.rows()


def test_a_glob_leaves_the_rest_alone(s3, shell, tmp_path, dataset):
    for name in ("a/1.png", "a/2.jpg", "b/3.png"):
        put(s3, name, picture(tmp_path, len(name) + ord(name[0])))
    assert shell(source="s3://photos/**/*.png")[0] == 0
    assert set(dataset.rows()) == {"a/1.png", "b/3.png"}
    s3.delete_object(Bucket="photos", Key="b/3.png")
    assert shell(source="s3://photos/a/*.{png,jpg}")[0] == 0
    assert set(dataset.rows()) == {"a/1.png", "a/2.jpg", "b/3.png"}


def test_lists(s3, shell, tmp_path, dataset):
    for seed in range(3):
        put(s3, f"sub/{seed}.png", picture(tmp_path, seed))
    put(s3, "lists/there.csv", b"uri,label\n../sub/0.png,zero\ns3://photos/sub/1.png,one\n")
    here = tmp_path / "here.txt"
    here.write_text("s3://photos/sub/2.png\ns3://photos/sub/none.png\nftp://host/x.png\n")
    code, *_ = shell("--keep", "label", source=["s3://photos/lists/there.csv", str(here)])
    assert code == 0
    found = {uri: row["label"] for uri, row in dataset.rows().items()}
    assert found == {"sub/0.png": "zero", "sub/1.png": "one", "sub/2.png": None}
    failed = {uri: row["message"] for uri, row in dataset.rows("failures").items()}
    assert failed["sub/none.png"] == "there is no such object"
    assert "unknown scheme ftp://" in failed[f"{here}#3"]


def test_archives(s3, shell, tmp_path, dataset):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("1.png", picture(tmp_path, 1))
    put(s3, "a.zip", file.getvalue())
    file = io.BytesIO()
    pq.write_table(pa.table({"image": [picture(tmp_path, 2), picture(tmp_path, 3)]}), file)
    put(s3, "b.parquet", file.getvalue())
    source = ["s3://photos/a.zip", "s3://photos/b.parquet"]
    assert shell(source=source)[0] == 0
    assert set(dataset.rows()) == {"a.zip#1.png", "b.parquet#0", "b.parquet#1"}
    assert "nothing to do" in shell(source=source)[1]


def test_what_vanishes_or_changes_before_it_is_read(s3, shell, tmp_path, monkeypatch, dataset):
    for seed in range(4):
        put(s3, f"{seed}.png", picture(tmp_path, seed))
    listing = S3Store.pages

    def meddle(self, *how, **options):
        for page in listing(self, *how, **options):
            if "most" in options and not page.more:  # not while the launcher looks at the input
                s3.delete_object(Bucket="photos", Key="1.png")
                put(s3, "2.png", picture(tmp_path, 22))
            yield page

    with monkeypatch.context() as patched:
        patched.setattr(S3Store, "pages", meddle)
        assert shell()[0] == 0
    failed = dataset.rows("failures")
    assert {uri: (row["stage"], row["error"]) for uri, row in failed.items()} == {
        "1.png": ("read", "FileNotFoundError"),
        "2.png": ("read", "ChangedError"),
    }
    assert shell()[0] == 0
    assert set(dataset.rows()) == {"0.png", "2.png", "3.png"}


def test_a_listing_that_fails_removes_nothing(s3, shell, tmp_path, dataset):
    put(s3, "1.png", picture(tmp_path, 1))
    assert shell()[0] == 0
    s3.delete_object(Bucket="photos", Key="1.png")
    code, _, err = shell()
    assert code == 1
    assert "--allow-empty" in err
    code, _, err = shell(source="s3://no-such-bucket/*.png")
    assert code == 2
    assert "--input s3://no-such-bucket/*.png: s3://no-such-bucket: there is no bucket" in err
    assert set(dataset.rows()) == {"1.png"}


def test_an_encoder_in_a_bucket(s3, shell, small_bundle, tmp_path, dataset):
    put(s3, "images/1.png", picture(tmp_path, 1))
    for path in small_bundle.iterdir():
        put(s3, f"bundle/{path.name}", path.read_bytes())
    assert shell(source="s3://photos/images", bundle="s3://photos/bundle")[0] == 0
    assert set(dataset.rows()) == {"images/1.png"}


def test_options_reach_worker_processes(s3, server, shell, tmp_path, monkeypatch, dataset):
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
    assert set(dataset.rows()) == {"1.png"}


def test_outputs_are_refused(shell):
    code, _, err = shell(output="s3://photos/out")
    assert code == 2
    assert "--output 's3://photos/out': s3:// is for input only" in err
    code, _, err = shell(output="ftp://host/out")
    assert code == 2
    assert "--output 'ftp://host/out': unknown scheme ftp://" in err
    assert main(["status", "s3://photos/out"]) == 2


def test_repeated_requests_are_counted(s3):
    """boto3 repeats them itself; its response says how often."""
    put(s3, "a.jpg", b"content")
    failed = []

    def fail_twice(request, **_):
        if len(failed) == 2:
            return None
        failed.append(request.url)
        return AWSResponse(request.url, 503, {}, HTTPResponse(io.BytesIO(), preload_content=False))

    s3_module._client().meta.events.register("before-send.s3.GetObject", fail_twice)
    take_retries()
    assert S3Store().read("s3://photos/a.jpg")[0] == b"content"
    assert (len(failed), take_retries()) == (2, 2)
