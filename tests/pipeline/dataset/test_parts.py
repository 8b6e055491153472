import dataclasses

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import pipeline
from encoder.spec import EncoderSpec, read_spec
from pipeline.dataset import parts
from pipeline.dataset.parts import PartBuffer, PartWriter, read_known
from pipeline.launch.beam_options import parse_beam_options
from pipeline.records import DECODE, Embedded, Failure, Load, Touched
from tests.conftest import write_image

LOAD = Load("load", "2 cores")


@pytest.fixture
def writer(tmp_path, small_bundle):
    return PartWriter(str(tmp_path), "run1", read_spec(small_bundle))


def embedded(number):
    vector = np.arange(16, dtype=np.float32) + number
    return Embedded(
        f"/p/{number}.jpg", f"v{number}", 10, f"{number:064x}", 4, 3, False, None, vector, LOAD
    )


def failure(number):
    return Failure(f"/p/{number}.jpg", f"v{number}", 10, DECODE, "OSError", "truncated")


def test_columns_types_and_metadata(writer, tmp_path):
    part = writer.write_embeddings([embedded(1), embedded(2)])
    assert (part.rows, part.loads) == (2, (LOAD,))
    assert part.path.startswith(f"staging/embeddings/encoder={writer.spec.id}/run=run1/part-")
    file = pq.ParquetFile(tmp_path / part.path)
    schema = file.schema_arrow
    assert [(field.name, str(field.type)) for field in schema] == [
        ("uri", "string"),
        ("embedding", "fixed_size_list<element: float>[16]"),
        ("width", "int32"),
        ("height", "int32"),
        ("bytes", "int64"),
        ("version", "string"),
        ("sha256", "string"),
    ]
    assert EncoderSpec.from_json(schema.metadata[b"encoder"]) == writer.spec
    column = file.metadata.row_group(0).column(1)
    assert column.compression == "ZSTD"
    assert "BYTE_STREAM_SPLIT" in column.encodings
    rows = file.read().to_pylist()
    assert rows[1]["embedding"] == list(embedded(2).embedding)
    assert part.bytes == (tmp_path / part.path).stat().st_size


def test_failures(writer, tmp_path):
    part = writer.write_failures([failure(1)])
    table = pq.read_table(tmp_path / part.path, partitioning=None)
    assert table.schema.names == ["uri", "version", "bytes", "stage", "error", "message"]
    assert table.to_pylist() == [failure(1)._asdict()]


def test_the_name_says_what_the_part_holds(writer):
    one = writer.write_embeddings([embedded(1)])
    assert writer.write_embeddings([embedded(1)]).path == one.path
    assert writer.write_embeddings([embedded(2)]).path != one.path
    assert writer.write_embeddings([embedded(1)._replace(version="v9")]).path != one.path


def test_a_part_is_never_written_over_with_other_values(writer):
    """A run may have the id of a dead run, whose parts another run has committed since."""
    schema = pa.schema([pa.field("label", pa.string())])
    carrying = dataclasses.replace(writer, extra_columns=schema)
    one = writer.write_embeddings([embedded(1)])
    two = carrying.write_embeddings([embedded(1)._replace(carried=("x",))])
    renewed = {"/p/1.jpg": Touched(two.path, "/p/1.jpg", "v1", None, ("y",))}
    three = carrying.rewrite("embeddings", two.path, set(), renewed)
    assert len({one.path, two.path, three.path}) == 3


def test_rewrite_drops_stale_rows_and_renews_touched_ones(writer, tmp_path):
    part = writer.write_embeddings([embedded(n) for n in range(4)])
    touched = {"/p/2.jpg": Touched(part.path, "/p/2.jpg", "v99", "changed")}
    new = writer.rewrite("embeddings", part.path, {"/p/1.jpg", "/p/2.jpg"}, touched)
    table = pq.read_table(tmp_path / new.path, partitioning=None)
    assert table["uri"].to_pylist() == ["/p/0.jpg", "/p/2.jpg", "/p/3.jpg"]
    assert table["version"].to_pylist() == ["v0", "v99", "v3"]
    assert table["embedding"].to_pylist()[1] == list(embedded(2).embedding)
    assert EncoderSpec.from_json(table.schema.metadata[b"encoder"]) == writer.spec
    assert (tmp_path / part.path).exists()


def test_rewrite_of_a_part_without_rows_left(writer):
    part = writer.write_failures([failure(1)])
    assert writer.rewrite("failures", part.path, {"/p/1.jpg"}, {}) is None


def test_keys(writer):
    part = writer.write_embeddings([embedded(1)])
    ((row,), outdated, digests) = read_known(part, True, writer)
    assert digests == bytes.fromhex(f"{1:064x}"[:32])
    assert row == ("/p/1.jpg", part.path, "v1", f"{1:064x}", None, True, None)
    part = writer.write_failures([failure(2)])
    ((row,), _, digests) = read_known(part, False, writer)
    assert digests is None
    assert row == ("/p/2.jpg", part.path, "v2", None, DECODE, False, None)
    assert not outdated


def test_parts_in_a_bucket(small_bundle, bucket):
    writer = PartWriter(f"{bucket}/out", "run1", read_spec(small_bundle))
    part = writer.write_embeddings([embedded(1)])
    assert [row[0] for row in read_known(part, True, writer).rows] == ["/p/1.jpg"]


def test_the_buffer_is_full_by_rows_bytes_or_time():
    now = 0.0
    buffer = PartBuffer(clock=lambda: now)
    rows = [failure(n) for n in range(parts.MAX_ROWS)]
    assert [buffer.add(row, 1) for row in rows] == [False] * 1023 + [True]
    assert buffer.take() == sorted(rows, key=lambda row: row.uri)  # in any order of arrival
    assert not buffer
    assert not buffer.add(rows[0], parts.MAX_BYTES - 1)
    assert buffer.add(rows[1], 1)
    buffer.take()
    now = 100.0
    assert not buffer.add(rows[0], 1)
    now = 100.0 + parts.MAX_SECONDS
    assert buffer.add(rows[1], 1)


def test_a_write_that_fails_leaves_nothing(writer, tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="No space"):
        writer.write("failures", pa.table({"uri": ["a"], "version": ["b"]}))
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_the_first_part_of_a_worker_is_written_after_a_call_for_each_core(
    small_bundle, tmp_path, monkeypatch
):
    monkeypatch.setattr("pipeline.embedding.call_sizes.usable_cores", lambda: 2)
    for number in range(20):
        write_image(tmp_path / "images" / f"{number:02}.png", number)
    job = pipeline.new_job(
        [str(tmp_path / "images")],
        str(small_bundle),
        str(tmp_path / "out"),
        options=pipeline.JobOptions(batch_size=4),
    )
    pipeline.run(job, parse_beam_options([]))
    written = tmp_path.glob("out/embeddings/**/*.parquet")
    assert sorted(pq.read_metadata(path).num_rows for path in written) == [8, 12]
