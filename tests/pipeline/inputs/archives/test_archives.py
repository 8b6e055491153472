import gzip
import tarfile
import zipfile

import numpy as np
import pyarrow as pa
import pytest

from pipeline.inputs.archives import registry, tar_files
from pipeline.inputs.archives.base import ArchiveError, Packing
from pipeline.inputs.archives.registry import index_archive, read_archive
from pipeline.records import Image
from tests.support.packed import example, parquet, picture, record, tar, zipped

PLAIN = Packing()
A, B, C = picture(1), picture(2), picture(3)


def listed(path):
    return Image(str(path), f"{path.stat().st_mtime_ns}-{path.stat().st_size}", 0)


def names(path, packing=PLAIN):
    """The names in the index, then the error that ended it, if any."""
    found = []
    try:
        for member in index_archive(listed(path), packing):
            found.append(member.name)
    except ArchiveError as error:
        found.append(str(error))
    return found


def contents(path, packing=PLAIN):
    """The bytes or error of each member of an archive by name, read as in a job."""
    archive, found, segments = listed(path), {}, {}
    for m in index_archive(archive, packing):
        if m.error:
            found[m.name] = m.error
            continue
        image = Image(m.name, "", m.bytes, place=m.place, segment=m.segment)
        segments.setdefault(m.segment, []).append(image)
    for images in segments.values():
        for image, data in read_archive(
            archive.uri, archive.version, sorted(images, key=lambda image: image.place), packing
        ):
            found[image.uri] = data if isinstance(data, bytes) else str(data)
    return found


@pytest.mark.parametrize("mode", ["w", "w:gz", "w:bz2", "w:xz"])
@pytest.mark.parametrize("form", [tarfile.PAX_FORMAT, tarfile.GNU_FORMAT, tarfile.USTAR_FORMAT])
def test_tar(tmp_path, mode, form):
    long = "d/" + "x" * 90 + "/c.JPEG"
    files = [("d/a.jpg", A), ("d/a.cls", b"7"), ("./b.png", B), (long, C), (".h/d.png", A)]
    path = tar(tmp_path / "a.tar", files, mode, format=form)
    assert contents(path) == {"d/a.jpg": A, "./b.png": B, long: C}


def test_a_tar_is_read_in_segments(tmp_path, monkeypatch):
    monkeypatch.setattr(tar_files, "SEGMENT_BYTES", 1024)
    path = tar(tmp_path / "a.tar", [(f"{n}.png", picture(n)) for n in range(20)])
    assert len({m.segment for m in index_archive(listed(path), Packing())}) > 5
    assert contents(path) == {f"{n}.png": picture(n) for n in range(20)}


@pytest.mark.parametrize("make", [tar, zipped])
@pytest.mark.filterwarnings("ignore:Duplicate name:UserWarning")
def test_a_member_twice_counts_as_if_unpacked(tmp_path, make):
    path = make(tmp_path / f"a.{make.__name__[:3]}", [("a.png", A), ("b.png", B), ("a.png", C)])
    assert contents(path) == {"b.png": B, "a.png": C}


@pytest.mark.parametrize("make", [tar, zipped])
def test_names_that_would_be_dangerous_to_unpack(tmp_path, make):
    files = [("/etc/a.png", A), ("../../b.png", B), ("x#y z%20\n.png", C)]
    path = make(tmp_path / f"a.{make.__name__[:3]}", files)
    assert contents(path) == dict(files)


def test_a_tar_with_names_that_are_not_utf8(tmp_path):
    name = b"\xff.png".decode("utf-8", "surrogateescape")
    path = tar(tmp_path / "a.tar", [(name, A)], format=tarfile.GNU_FORMAT)
    assert contents(path) == {name: A}


@pytest.mark.parametrize("make", [tar, zipped])
def test_files_without_an_extension_are_told_by_their_first_bytes(tmp_path, make):
    files = [("photo", picture(1, "JPEG")), ("README", b"text"), ("a.txt", A), ("d/Makefile", b"")]
    assert names(make(tmp_path / f"a.{make.__name__[:3]}", files)) == ["photo"]


def test_links_in_a_tar_are_refused_by_name(tmp_path):
    path = tmp_path / "a.tar"
    with tarfile.open(path, "w") as archive:
        for kind, name in ((tarfile.SYMTYPE, "s.png"), (tarfile.LNKTYPE, "h.png")):
            info = tarfile.TarInfo(name)
            info.type, info.linkname = kind, "a.png"
            archive.addfile(info)
        info = tarfile.TarInfo("pipe.png")
        info.type = tarfile.FIFOTYPE
        archive.addfile(info)
        info = tarfile.TarInfo("folder.png")
        info.type = tarfile.DIRTYPE
        archive.addfile(info)
    found = contents(path)
    assert sorted(found) == ["h.png", "pipe.png", "s.png"]
    assert found["s.png"].startswith("a link to 'a.png' in the archive")
    assert found["pipe.png"] == "not a regular file"


@pytest.mark.parametrize("junk", [bytes(100), b"junk " * 300])
def test_what_follows_the_end_of_a_tar_is_ignored(tmp_path, junk):
    path = tar(tmp_path / "a.tar", [("a.png", A)])
    path.write_bytes(path.read_bytes() + junk)
    assert contents(path) == {"a.png": A}


def test_tars_appended_to_each_other(tmp_path):
    one = tar(tmp_path / "1.tar", [("a.png", A)]).read_bytes()
    path = tmp_path / "all.tar"
    path.write_bytes(one + tar(tmp_path / "2.tar", [("b.png", B)]).read_bytes())
    assert contents(path) == {"a.png": A, "b.png": B}


@pytest.mark.parametrize("mode", ["w", "w:gz", "w:bz2", "w:xz"])
def test_a_tar_cut_anywhere_keeps_what_is_whole_and_says_so(tmp_path, mode):
    path = tar(tmp_path / "a.tar", [(f"{n}.png", picture(n)) for n in range(9)], mode)
    whole = path.read_bytes()
    for size in {0, 1, 511, 512, 513, *range(100, len(whole), len(whole) // 20), len(whole) - 1}:
        path.write_bytes(whole[:size])
        found = names(path)
        if mode == "w" and size > 9 * 1024 + 512:  # only zeros were cut off
            assert found[:9] == [f"{n}.png" for n in range(9)]
            continue
        assert found[:-1] == [f"{n}.png" for n in range(len(found) - 1)]
        assert len(found[-1]) > 6, size  # a message
        if mode == "w":
            assert len(found) - 1 >= size // 1024


def test_a_damaged_header_is_not_taken_for_the_end(tmp_path):
    path = tar(tmp_path / "a.tar", [("a.png", A), ("b.png", B)])
    data = bytearray(path.read_bytes())
    second = 512 + -(-len(A) // 512) * 512
    data[second + 10] ^= 0xFF
    path.write_bytes(data)
    found = names(path)
    assert found[0] == "a.png"
    assert found[1].startswith(f"damaged at byte {second}")


def test_a_tar_that_is_something_else(tmp_path):
    path = tmp_path / "a.tar"
    path.write_bytes(b"hello " * 1000)
    assert "damaged at byte 0" in names(path)[0]
    path.write_bytes(b"\x1f\x8bhello" * 1000)
    assert names(path)[0]


@pytest.mark.parametrize("method", [zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_zip_problems_cost_one_image(tmp_path, method):
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w", method) as archive:
        archive.writestr("a.png", A)
        archive.writestr("b.png", B)
    data = bytearray(path.read_bytes())
    data[50] ^= 0xFF  # in the first file's content
    path.write_bytes(data)
    found = contents(path)
    assert found["b.png"] == B
    assert isinstance(found["a.png"], str)


def test_a_zip_that_holds_more_than_it_says(tmp_path):
    import tracemalloc

    path = zipped(tmp_path / "a.zip", [("a.png", bytes(100 << 20))])
    data = bytearray(path.read_bytes())
    size = data.index(b"PK\x01\x02") + 24
    data[size : size + 4] = (1000).to_bytes(4, "little")
    path.write_bytes(data)
    tracemalloc.start()
    contents(path)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 8 << 20


def test_an_encrypted_zip_member(tmp_path):
    path = zipped(tmp_path / "a.zip", [("a.png", A)])
    data = bytearray(path.read_bytes())
    data[data.index(b"PK\x01\x02") + 8] |= 1
    path.write_bytes(data)
    assert contents(path) == {"a.png": "encrypted in the archive; pack it without a password"}


def test_a_zip_that_is_none(tmp_path):
    path = tmp_path / "a.zip"
    path.write_bytes(b"hello")
    assert names(path) == ["BadZipFile: File is not a zip file"]


@pytest.mark.parametrize("pack", [bytes, gzip.compress])
def test_tfrecord(tmp_path, pack):
    records = [example(image__encoded=picture(n), id=f"n{n}", label=n) for n in range(3)]
    path = tmp_path / "a.tfrecord"
    path.write_bytes(pack(b"".join(map(record, records))))
    assert contents(path) == {str(n): picture(n) for n in range(3)}
    assert contents(path, Packing("image/encoded", "id")) == {f"n{n}": picture(n) for n in range(3)}
    assert list(contents(path, Packing(None, "label"))) == ["0", "1", "2"]


def test_tfrecord_as_tensorflow_writes_it(tmp_path):
    import tensorflow as tf

    path = tmp_path / "a.tfrecord"
    feature = tf.train.Feature(bytes_list=tf.train.BytesList(value=[A]))
    message = tf.train.Example(features=tf.train.Features(feature={"jpeg": feature}))
    with tf.io.TFRecordWriter(str(path)) as writer:
        writer.write(message.SerializeToString())
    assert contents(path) == {"0": A}


def test_records_that_share_an_id_are_different_images(tmp_path):
    path = tmp_path / "a.tfrecord"
    texts = ["a", "a", "a@2", "a"]
    records = [example(image=picture(n), id=text) for n, text in enumerate(texts)]
    path.write_bytes(b"".join(map(record, records)))
    found = contents(path, Packing("image", "id"))
    assert sorted(found.values()) == sorted(picture(n) for n in range(4))
    assert list(found)[:2] == ["a", "a@2"]


def test_a_record_with_a_wrong_checksum_costs_that_record(tmp_path):
    data = bytearray(b"".join(record(example(image=picture(n))) for n in range(3)))
    one = len(record(example(image=picture(0))))
    data[one + 40] ^= 0xFF
    path = tmp_path / "a.tfrecord"
    path.write_bytes(data)
    found = contents(path)
    assert (found["0"], found["2"]) == (picture(0), picture(2))
    assert "does not fit its checksum" in found["1"]


@pytest.mark.parametrize("pack", [bytes, gzip.compress])
def test_a_damaged_length_ends_a_tfrecord(tmp_path, pack):
    data = bytearray(b"".join(record(example(image=picture(n))) for n in range(3)))
    data[len(record(example(image=picture(0))))] ^= 0xFF
    path = tmp_path / "a.tfrecord"
    path.write_bytes(pack(bytes(data)))
    found = names(path)
    assert found[0] == "0"
    assert found[1].startswith("the length of record 1")


@pytest.mark.parametrize("pack", [bytes, gzip.compress])
def test_a_tfrecord_cut_anywhere(tmp_path, pack):
    whole = record(example(image=A)) * 3
    one = len(whole) // 3
    path = tmp_path / "a.tfrecord"
    for size in (1, 11, 12, one - 1, one + 5, one + 50, len(whole) - 1):
        path.write_bytes(pack(whole[:size]))
        found = names(path)
        # In a stream, a record is listed before its early end is noticed.
        assert found[:-1] in ([str(n) for n in range(size // one + more)] for more in (0, 1))
        assert "cut short" in found[-1]
    path.write_bytes(b"")
    assert names(path) == []


@pytest.mark.parametrize(
    ("features", "packing", "message"),
    [
        ({"text": "x"}, Packing(), "0 features that are images, among text; name one with"),
        ({"one": A, "two": B}, Packing(), "2 features that are images, among one, two"),
        ({"image": A}, Packing("jpg"), "no feature 'jpg'; it has image"),
        ({"image": 7}, Packing("image"), "1 values of kind int64_list; expected one of bytes"),
    ],
)
def test_records_without_an_image(tmp_path, features, packing, message):
    path = tmp_path / "a.tfrecord"
    path.write_bytes(record(example(**features)) + record(b"\xff\xff no example"))
    found = contents(path, packing)
    assert message in found["0"]
    assert "no tf.train.Example" in found["1"]


@pytest.mark.parametrize("kind", [pa.binary(), pa.large_binary(), pa.binary_view()])
def test_parquet(tmp_path, kind):
    images = pa.array([picture(n) for n in range(30)], kind)
    path = parquet(tmp_path / "a.parquet", images, 7, id=[f"n{n}" for n in range(30)])
    assert contents(path) == {str(n): picture(n) for n in range(30)}
    assert contents(path, Packing("image", "id")) == {f"n{n}": picture(n) for n in range(30)}


def test_ids_in_parquet_may_be_bytes_and_must_be_there(tmp_path):
    path = parquet(tmp_path / "a.parquet", [A, B], id=[b"x\xff", None])
    found = contents(path, Packing(None, "id"))
    assert found == {b"x\xff".decode("utf-8", "surrogateescape"): A, "1": "the row has no id"}


def test_parquet_as_data_set_hubs_have_it(tmp_path):
    images = [{"bytes": picture(n), "path": f"{n}.png"} for n in range(3)]
    path = parquet(tmp_path / "a.parquet", images, label=[1, 2, 3])
    assert contents(path) == {str(n): picture(n) for n in range(3)}


def test_parquet_with_gaps_and_carried_columns(tmp_path):
    path = parquet(tmp_path / "a.parquet", [A, None, C], label=[1, None, 3])
    packing = Packing(carried=pa.schema([("label", pa.int64()), ("other", pa.string())]))
    carried = [member.carried for member in index_archive(listed(path), packing)]
    assert carried == [(1, None), (None, None), (3, None)]
    assert contents(path) == {"0": A, "1": "the row has no image", "2": C}


@pytest.mark.parametrize(
    ("columns", "packing", "message"),
    [
        ({"jpg": [A]}, Packing(), "no column of bytes to take for images; columns of bytes are"),
        ({"other": [A]}, Packing("label"), "no column of bytes 'label'"),
        ({"label": [1]}, Packing(None, "id"), "no column 'id'; the file has image, label"),
    ],
)
def test_parquet_columns_that_are_not_there(tmp_path, columns, packing, message):
    assert message in names(parquet(tmp_path / "a.parquet", [A], **columns), packing)[0]


def test_a_damaged_parquet_file(tmp_path):
    path = tmp_path / "a.parquet"
    path.write_bytes(b"PAR1 hello PAR1")
    assert len(names(path)[0]) > 10


@pytest.mark.parametrize("name", ["a.tar", "b.tar.gz", "c.zip", "d.tfrecord", "e.parquet"])
def test_archives_in_a_bucket(bucket, tmp_path, name):
    from encoder.storage.registry import store_for

    path = tmp_path / name
    if "tar" in name:
        tar(path, [("0", A), ("1", B)], "w:gz" if name.endswith("gz") else "w")
    elif "zip" in name:
        zipped(path, [("0", A), ("1", B)])
    elif "parquet" in name:
        parquet(path, [A, B])
    else:
        path.write_bytes(record(example(image=A)) + record(example(image=B)))
    store_for(bucket).write(f"{bucket}/{name}", path.read_bytes())
    info = store_for(bucket).stat(f"{bucket}/{name}")
    archive = Image(info.path, info.version, info.bytes)
    members = list(index_archive(archive, Packing()))
    assert [member.name for member in members] == ["0", "1"]
    images = [Image(m.name, "", m.bytes, place=m.place, segment=m.segment) for m in members]
    found = read_archive(archive.uri, archive.version, images, Packing())
    assert [data for _, data in found] == [A, B]


def test_nothing_is_read_into_memory_at_once(tmp_path):
    """An archive of 64 MB is indexed and read with buffers of a few MB."""
    import tracemalloc

    path = tmp_path / "a.tar"
    rng = np.random.default_rng(0)
    tar(path, [(f"{n}.png", rng.bytes(1 << 20)) for n in range(64)])
    archive = listed(path)
    tracemalloc.start()
    members = list(index_archive(archive, Packing()))
    images = [Image(m.name, "", m.bytes, place=m.place) for m in members]
    total = 0
    for _, data in read_archive(archive.uri, archive.version, images, Packing()):
        total += len(data)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert total == 64 << 20
    assert peak < 8 << 20


def test_kinds_are_complete():
    assert set(registry._KINDS) == {"tar", "zip", "tfrecord", "parquet"}
    for module in registry._KINDS.values():
        assert callable(module.index)
        assert callable(module.read)
