"""Targets: archives of images in tar, zip, TFRecord and Parquet."""

import contextlib
import gzip

import pyarrow as pa
import pyarrow.parquet as pq

from encoder.storage.local import LocalStore
from pipeline.inputs.archives.base import ArchiveError, Packing
from pipeline.inputs.archives.registry import index_archive, read_archive
from pipeline.inputs.archives.tfrecord_files import features_of, find_image, find_text
from pipeline.inputs.uris import archive_of, member_uri
from pipeline.records import Image
from tests.fuzz.target import Target, content, file_with
from tests.support.packed import example, picture, record, tar, zipped

FILES = [
    ("a/1.png", picture(1)),
    ("two", picture(2)),
    ("ü#x.tar#.png", picture(3)),
    ("c.txt", b"x"),
]
LARGEST = 1 << 20  # bytes of a packed image that is read
WORDS = (
    b"\0" * 512,
    b"\xff" * 8,
    b"\x7f" * 4,
    b"PK\5\6",
    b"ustar",
    b"../",
    b"9" * 11,
    b"\x80\0\0\1",
)
RECORD_WORDS = (*WORDS, record(b"x"), record(b""), record(example(id=b"\xff")))


def check(name, packing=Packing(max_bytes=LARGEST)):  # noqa: B008 - immutable
    def check(data):
        with file_with(data, name) as path, contextlib.suppress(ArchiveError):
            read_all(str(path), packing)

    return check


def read_all(path, packing):
    version = LocalStore().stat(path).version
    segments = {}
    for member in index_archive(Image(path, version, 0), packing):
        uri = member_uri(path, member.name)
        uri.encode()
        assert archive_of(uri) == path
        image = Image(uri, version, member.bytes, place=member.place, segment=member.segment)
        if member.error is None and member.bytes <= LARGEST:
            segments.setdefault(member.segment, []).append(image)
    for wanted in segments.values():
        found = list(read_archive(path, version, sorted(wanted, key=lambda i: i.place), packing))
        assert len(found) == len(wanted)
        assert all(isinstance(data, bytes | Exception) for _, data in found)


def check_example(data):
    with contextlib.suppress(ArchiveError):
        features = features_of(data)
        with contextlib.suppress(ArchiveError):
            assert isinstance(find_text(features, "id"), str)
        assert isinstance(find_image(features, None), bytes)


def tars():
    modes = (("w", {}), ("w:gz", {}), ("w:bz2", {}), ("w:xz", {}), ("w", {"format": 0}))
    return [
        content(lambda path, m=mode, o=options: tar(path, FILES, m, **o), "x.tar")
        for mode, options in modes
    ]


def records():
    plain = b"".join(record(each) for each in examples())
    return [plain, gzip.compress(plain)]


def examples():
    return [
        example(image__encoded=picture(1), id="one", n=3),
        example(image=picture(2), id=2, label=1.5, text="ü"),
    ]


def parquets():
    images = [data for _, data in FILES[:3]]
    tables = [
        pa.table({"image": images, "id": [1, None, 3]}),
        pa.table(
            {"image": [{"bytes": each, "path": "x"} for each in images], "id": ["a", "b", "c"]}
        ),
    ]
    options = ({}, {"compression": "none", "row_group_size": 1}, {"data_page_version": "2.0"})
    return [
        content(lambda path, t=table, o=each: pq.write_table(t, path, **o), "x.parquet")
        for table in tables
        for each in options
    ]


by_id = Packing(id_field="id", max_bytes=LARGEST)
TARGETS = (
    Target("tar", check("a.tar"), tars, WORDS),
    Target(
        "zip", check("a.zip"), lambda: [content(lambda path: zipped(path, FILES), "x.zip")], WORDS
    ),
    Target("tfrecord", check("a.tfrecord", by_id), records, RECORD_WORDS),
    Target("example", check_example, examples, (b"\n", b"\x0a\x7f", b"\xff" * 10)),
    Target("parquet archive", check("a.parquet", by_id), parquets),
)
