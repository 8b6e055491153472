"""Ten thousand damaged files in one job: each one gives a row or a failure."""

import json

import numpy as np
import pyarrow.dataset as ds
import pytest

from pipeline.__main__ import main
from pipeline.inputs.archives.base import Packing
from pipeline.inputs.archives.members import list_members
from pipeline.records import Image, Note
from tests.support.image_files import every_kind
from tests.support.packed import example, parquet, picture, record, tar, zipped

LOOSE, PACKED = 6000, 1000


def damaged(rng, data):
    """The file with some bytes changed, removed, repeated or cut off."""
    data = bytearray(data)
    for _ in range(rng.integers(1, 5)):
        if not data:
            break
        at = int(rng.integers(len(data)))
        length = int(rng.integers(1, 64))
        kind = rng.integers(5)
        if kind == 0:
            data[at] ^= 1 << int(rng.integers(8))
        elif kind == 1:
            data[at : at + length] = rng.bytes(length)
        elif kind == 2:
            del data[at : at + length]
        elif kind == 3:
            data[at:at] = data[at : at + length]
        else:
            del data[at:]
    return bytes(data)


@pytest.mark.long
def test_ten_thousand_damaged_files(tmp_path, small_bundle, capsys):
    rng = np.random.default_rng(2026)
    kinds = list(every_kind().values())
    files = [damaged(rng, kinds[n % len(kinds)]) for n in range(LOOSE + 4 * PACKED)]
    source = tmp_path / "in"
    source.mkdir()
    for n in range(LOOSE):
        (source / f"{n}.jpg").write_bytes(files[n])
    packs = [
        [(f"{n}.jpg", files[n]) for n in range(LOOSE + k * PACKED, LOOSE + (k + 1) * PACKED)]
        for k in range(4)
    ]
    tar(source / "a.tar", packs[0])
    zipped(source / "b.zip", packs[1])
    (source / "c.tfrecord").write_bytes(
        b"".join(record(example(image=data)) for _, data in packs[2])
    )
    parquet(source / "d.parquet", [data for _, data in packs[3]])
    words = ["run", "--input", source, "--input", f"{source}/*.parquet", "--encoder", small_bundle]
    words += ["--output", tmp_path / "out", "--max-failure-ratio", "1"]
    code = main([str(word) for word in words])
    assert (code, capsys.readouterr().err) == (0, "")
    run = json.loads(next((tmp_path / "out" / "runs").iterdir()).read_text())
    uris = [
        ds.dataset(tmp_path / "out" / kind).to_table(columns=["uri"])["uri"].to_pylist()
        for kind in ("embeddings", "failures")
    ]
    assert run["listed"] == len(files) == 10_000
    assert len(set(uris[0]) | set(uris[1])) == len(uris[0]) + len(uris[1]) == len(files)
    assert (run["embedded"], run["failed"]) == (len(uris[0]), len(uris[1]))
    assert min(run["embedded"], run["failed"]) > 1000  # many rows and many failures
    stages = ds.dataset(tmp_path / "out" / "failures").to_table(columns=["stage"])["stage"]
    assert set(stages.to_pylist()) == {"decode"}


@pytest.mark.parametrize("kind", ["a.tar", "a.tar.gz", "a.zip", "a.tfrecord", "a.parquet"])
def test_damaged_archives_are_listed_or_are_failures(tmp_path, kind):
    rng = np.random.default_rng(2026)
    files = [(f"{n}.png", picture(n)) for n in range(5)]
    path = tmp_path / kind
    if "tar" in kind:
        tar(path, files, "w:gz" if kind.endswith("gz") else "w")
    elif "zip" in kind:
        zipped(path, files)
    elif "tfrecord" in kind:
        path.write_bytes(b"".join(record(example(image=data, id=name)) for name, data in files))
    else:
        parquet(path, [data for _, data in files], id=[name for name, _ in files])
    whole = path.read_bytes()
    for n in range(400):
        path.write_bytes(damaged(rng, whole))
        archive = Image(str(path), _version(path), 0)
        packing = Packing(None, "id" if n % 2 else None)
        listed = list_members(archive, [], packing, False)
        found = [image for image in listed if not isinstance(image, Note)]
        uris = [image.uri for image in found]
        assert len(set(uris)) == len(uris)
        for image in found:
            image.uri.encode()
            assert image.stage == "decode" or not image.error, image


def _version(path):
    state = path.stat()
    return f"{state.st_mtime_ns}-{state.st_size}"
