"""Whatever the bytes of an archive are, reading it ends, with ArchiveError where they are wrong."""

import gzip
import io
import random
import struct
import tarfile
import zipfile

import pytest

from pipeline.inputs.archives.base import ArchiveError, Packing, damage_in, opened
from pipeline.inputs.archives.members import list_members
from pipeline.inputs.archives.registry import index_archive, read_archive
from pipeline.records import DECODE, READ, Image
from tests.support.packed import example, parquet, picture, record, tar, zipped

ROUNDS = 150
PICTURES = [(f"{n}.png" if n % 2 else f"name-{n}", picture(n)) for n in range(6)]
RECORDS = b"".join(
    record(example(image=data, name=name, label=number))
    for number, (name, data) in enumerate(PICTURES)
)
PACKINGS = {"tfrecord": Packing(id_field="name"), "parquet": Packing(id_field="name")}


def pax(name):
    return {"format": tarfile.PAX_FORMAT, "pax_headers": {"comment": name * 300}}


MAKE = {
    "a.zip": lambda path: zipped(path, PICTURES),
    "a.tar": lambda path: tar(path, PICTURES, **pax("ü")),
    "gnu.tar": lambda path: tar(path, [("x" * 150 + n, d) for n, d in PICTURES], format=1),
    "a.tar.gz": lambda path: tar(path, PICTURES, "w:gz"),
    "a.tar.bz2": lambda path: tar(path, PICTURES, "w:bz2"),
    "a.tar.xz": lambda path: tar(path, PICTURES, "w:xz"),
    "a.tfrecord": lambda path: path.write_bytes(RECORDS),
    "a.tfrecord.gz": lambda path: path.write_bytes(gzip.compress(RECORDS)),
    "a.parquet": lambda path: parquet(
        path, [data for _, data in PICTURES], 2, name=[name for name, _ in PICTURES]
    ),
}


def damaged(data, chance):
    """The data with some bytes changed, cut out, put in, or all after a place gone."""
    data = bytearray(data)
    for _ in range(chance.choice((1, 1, 2, 8))):
        place = min(chance.choice((chance.randrange(len(data)), chance.randrange(600))), len(data))
        kind = chance.randrange(6)
        if kind == 0:
            data[place : place + 1] = bytes([chance.randrange(256)])
        elif kind == 1:
            data[place : place + 8] = chance.choice((b"\xff", b"\0", b"\x80")) * 8
        elif kind == 2 and len(data) > 1:
            del data[max(1, place) :]
        elif kind == 3 and len(data) > 100:
            del data[place : place + chance.randrange(1, 64)]
        elif kind == 4:
            data[place:place] = chance.randbytes(chance.randrange(1, 64))
        else:
            data[place : place + 4] = struct.pack("<I", chance.randrange(1 << 32))
        data = data or bytearray(b"\0")
    return bytes(data)


def read_all(path, packing):
    """Read an archive as a job does. Returns the contents, and the errors, of whatever type."""
    info = path.stat()
    archive = Image(str(path), f"{info.st_mtime_ns}-{info.st_size}", 0)
    members, found = [], []
    try:
        for member in index_archive(archive, packing):
            members.append(member)
    except Exception as error:
        found.append(error)
    for segment in {member.segment for member in members}:
        wanted = [
            Image(each.name, "", each.bytes, place=each.place, segment=segment)
            for each in sorted(members, key=lambda each: each.place)
            if each.segment == segment and not each.error and each.bytes < 1 << 20
        ]
        try:
            found += [data for _, data in read_archive(*archive[:2], iter(wanted), packing)]
        except Exception as error:
            found.append(error)
    return found


@pytest.mark.parametrize("name", MAKE)
def test_damage_of_any_kind_is_an_error_of_the_content(name, tmp_path):
    chance = random.Random(name)
    path = tmp_path / name
    MAKE[name](path)
    whole, packing = path.read_bytes(), PACKINGS.get(name.split(".")[1], Packing())
    assert read_all(path, packing) == [data for _, data in PICTURES]
    errors = 0
    for _ in range(ROUNDS):
        path.write_bytes(damaged(whole, chance))
        found = [each for each in read_all(path, packing) if not isinstance(each, bytes)]
        errors += bool(found)
        assert all(isinstance(each, ArchiveError) for each in found), (found, path.read_bytes())
    assert errors > ROUNDS / 10


def header(kind, size, name="x"):
    info = tarfile.TarInfo(name)
    info.type, info.size = kind, size
    return info.tobuf(tarfile.GNU_FORMAT)


def with_size(text, block):
    """A header of a tar with other bytes for its size, and the checksum that fits."""
    block = bytearray(block)
    block[124:136] = text
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    return bytes(block)


def pax_of(**values):
    text = b"".join(
        b"%d %s=%s\n" % (len(key) + len(value) + 5, key.encode(), value.encode())
        for key, value in values.items()
    )
    return header(tarfile.XHDTYPE, len(text)) + text.ljust(512, b"\0")


TARS = {
    "negative size": with_size(b"\xff" * 10 + b"\xfc\x00", header(tarfile.REGTYPE, 0, "a.png")),
    "negative size in pax": pax_of(size="-5000") + header(tarfile.REGTYPE, 0, "a.png"),
    "no size in pax": pax_of(size="x") + header(tarfile.REGTYPE, 0, "a.png"),
    "huge pax header": header(tarfile.XHDTYPE, 1 << 31) + b"\0" * 512,
    "huge name": header(tarfile.GNUTYPE_LONGNAME, 1 << 31) + b"\0" * 512,
    "headers without end": pax_of(comment="x") * 3000,
}


@pytest.mark.parametrize("data", TARS.values(), ids=TARS)
@pytest.mark.parametrize("packed", [False, True])
def test_tars_that_would_not_end_or_fill_the_memory(data, packed, tmp_path):
    path = tmp_path / "a.tar.gz"
    path.write_bytes(gzip.compress(data) if packed else data)
    found = read_all(path, Packing())
    assert all(isinstance(each, ArchiveError | bytes) for each in found)
    assert any(isinstance(each, ArchiveError) for each in found)


def test_zips_that_python_can_not_read(tmp_path):
    path = zipped(tmp_path / "a.zip", PICTURES[1:2])
    whole = path.read_bytes()
    for place, value in ((8, 99), (6, 0x41)):  # an unknown compression; strong encryption
        data = bytearray(whole)
        central = data.index(b"PK\1\2")
        for start in (place, central + place + 2):
            data[start : start + 2] = struct.pack("<H", value)
        path.write_bytes(data)
        found = read_all(path, Packing())
        assert all(isinstance(each, ArchiveError) for each in found)


class Failing(io.BytesIO):
    """A file in a store whose connection breaks after some bytes."""

    left = 0

    def read(self, size=-1):
        self.left -= 1
        if self.left < 0:
            raise ConnectionError("the connection broke")
        return super().read(size)


@pytest.mark.parametrize("name", MAKE)
def test_errors_of_the_store_are_no_damage(name, tmp_path, monkeypatch):
    """Even where a library takes an OSError for a damaged file, as zipfile does."""
    MAKE[name](tmp_path / name)
    stored = (tmp_path / name).read_bytes()
    info = (tmp_path / name).stat()
    archive = Image(str(tmp_path / name), f"{info.st_mtime_ns}-{info.st_size}", 0)
    reads = 0
    for reads in range(30):
        file = Failing(stored)
        file.left = reads

        class Store:
            def open(self, path, version=None, file=file):
                return file

        monkeypatch.setattr("pipeline.inputs.archives.base.store_for", lambda path: Store())
        found = list(list_members(archive, [], Packing(), False))
        failures = [each for each in found if isinstance(each, Image) and each.uri == archive.uri]
        if not failures:
            break
        assert [(each.stage, each.error) for each in failures] == [(READ, "the connection broke")]
    assert reads


def test_damage_is_a_failure_of_stage_decode(tmp_path):
    """So it is not read again every night; see DESIGN."""
    for name, make in MAKE.items():
        make(tmp_path / name)
        data = (tmp_path / name).read_bytes()
        (tmp_path / name).write_bytes(data[: len(data) // 2])
        info = (tmp_path / name).stat()
        archive = Image(str(tmp_path / name), f"{info.st_mtime_ns}-{info.st_size}", 0)
        *_, last = (
            each
            for each in list_members(archive, [], Packing(), False)
            if isinstance(each, Image) and each.error
        )
        assert (last.stage, last.error_type) == (DECODE, "ArchiveError")


def test_what_stands_behind_an_error(tmp_path):
    (tmp_path / "a.zip").write_bytes(b"x")
    with opened(str(tmp_path / "a.zip")) as file:
        found = damage_in(file, zipfile.BadZipFile("no zip"))
    assert (type(found), str(found)) == (ArchiveError, "BadZipFile: no zip")
    with pytest.raises(ArchiveError, match="KeyError: 'x'"), opened(str(tmp_path / "a.zip")):
        raise KeyError("x")
    with pytest.raises(FileNotFoundError), opened(str(tmp_path / "none.zip")):
        pass
