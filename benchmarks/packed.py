"""Whether images are read from archives as fast as from single files.

Packs the same JPEG files into a tar file, a compressed tar file, a zip file, TFRecord and Parquet.
Measures reading with decoding, and the whole job, both as ratios to single files. The kinds of
input take turns in one run.

    python -m benchmarks.packed --encoder demo-output/vgg16
"""

from __future__ import annotations

import pathlib
import statistics
import tarfile
import tempfile
import time
import zipfile

import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.throughput import be_quiet, job_seconds, make_jpegs, parser_of
from encoder.spec import EncoderSpec, read_spec
from pipeline.embedding.decode import Reading
from pipeline.embedding.read_ahead import ReadAhead
from pipeline.inputs.archives.base import Packing
from pipeline.inputs.archives.registry import index_archive
from pipeline.inputs.files import list_files
from pipeline.inputs.source import parse_input
from pipeline.records import Decoded, Todo


def main() -> None:
    """Print both rates of each kind of input, and their ratios to single files."""
    parser = parser_of(__doc__)
    parser.add_argument("--images", type=int, default=192, help="of each kind, for the whole job")
    parser.add_argument("--decoded", type=int, default=2000, help="of each kind, without the job")
    options = parser.parse_args()
    be_quiet()
    spec = read_spec(options.encoder)
    with tempfile.TemporaryDirectory() as folder:
        base = pathlib.Path(folder)
        print(f"reading and decoding alone, {options.decoded} images of each kind")
        compare(
            pack(base / "decoded", options.decoded),
            lambda source: options.decoded / decode_seconds(source, spec),
            options.rounds,
        )
        print(f"whole job, {options.images} images of each kind, start-up included")
        outputs = iter(range(10**6))
        compare(
            pack(base / "job", options.images),
            lambda source: (
                options.images
                / job_seconds(
                    source, options.encoder, base / f"out-{next(outputs)}", options.batch_size
                )
            ),
            options.rounds,
        )


def compare(sources: dict[str, pathlib.Path], rate: object, rounds: int) -> None:
    """Measure the sources in turns; print images per second and the median ratio to the first."""
    rates: dict[str, list[float]] = {name: [] for name in sources}
    for _ in range(rounds):
        for name, source in sources.items():
            rates[name].append(rate(source))
    first = next(iter(rates.values()))
    for name, found in rates.items():
        ratio = statistics.median(a / b for a, b in zip(found, first, strict=True))
        print(f"  {name:<10} {statistics.median(found):8.1f} images/s, ratio {ratio:.3f}")


def pack(folder: pathlib.Path, count: int) -> dict[str, pathlib.Path]:
    """Pack the same images into each kind of input."""
    from tensorflow.io import TFRecordWriter
    from tensorflow.train import BytesList, Example, Feature, Features

    folder.mkdir()
    loose = folder / "loose"
    make_jpegs(loose, count)
    files = sorted(loose.iterdir())
    for name, mode in (("tar", "w"), ("tar.gz", "w:gz")):
        with tarfile.open(folder / f"a.{name}", mode) as archive:
            for path in files:
                archive.add(path, path.name)
    with zipfile.ZipFile(folder / "a.zip", "w") as archive:
        for path in files:
            archive.write(path, path.name)
    with TFRecordWriter(str(folder / "a.tfrecord")) as writer:
        for path in files:
            value = Feature(bytes_list=BytesList(value=[path.read_bytes()]))
            example = Example(features=Features(feature={"image/encoded": value}))
            writer.write(example.SerializeToString())
    table = pa.table({"image": [path.read_bytes() for path in files]})
    pq.write_table(table, folder / "a.parquet", row_group_size=500)
    packed = {name: folder / f"a.{name}" for name in ("tar", "tar.gz", "zip", "tfrecord")}
    return {"loose": loose, **packed, "parquet": folder / "a.parquet"}


def decode_seconds(source: pathlib.Path, spec: EncoderSpec) -> float:
    """The time to list, read and decode a folder or an archive."""
    began = time.perf_counter()
    ahead = ReadAhead(Reading(spec), window=64)
    outcomes = []
    if source.is_dir():
        for image in list_files(parse_input(str(source))):
            outcomes += [isinstance(each, Decoded) for each in ahead.put(Todo(image))]
    else:
        (archive,) = list_files(parse_input(str(source)))
        segments: dict[int, list[Todo]] = {}
        for image in sorted(
            (_image(archive, m) for m in index_archive(archive, Packing())), key=lambda i: i.place
        ):
            segments.setdefault(image.segment, []).append(Todo(image))
        for todos in segments.values():
            outcomes += [isinstance(each, Decoded) for each in ahead.put_segment(todos)]
    outcomes += [isinstance(each, Decoded) for each in ahead.drain()]
    ahead.close()
    assert outcomes
    assert all(outcomes)
    return time.perf_counter() - began


def _image(archive: object, member: object) -> object:
    return archive._replace(
        uri=f"{archive.uri}#{member.name}",
        bytes=member.bytes,
        archive=archive.uri,
        place=member.place,
        segment=member.segment,
    )


if __name__ == "__main__":
    main()
