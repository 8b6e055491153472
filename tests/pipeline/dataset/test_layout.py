"""Paths inside a dataset, and the values that they contain."""

import pytest

from encoder.errors import InputError
from pipeline.dataset import layout
from pipeline.errors import PathError
from pipeline.records import EMBEDDINGS, FAILURES

ID = "9fa23a2c560b6581"


def test_paths_are_those_of_the_contract():
    """The paths in docs/contracts.md."""
    assert layout.encoder_folder(EMBEDDINGS, ID) == f"embeddings/encoder={ID}"
    path = layout.part_path(FAILURES, ID, "run-1", "0a1b")
    assert path == f"failures/encoder={ID}/run=run-1/part-0a1b.parquet"
    assert layout.manifest_path("gs://b/out") == "gs://b/out/manifest.json"
    assert layout.record_path("/out", "run-1") == "/out/runs/run-1.json"
    digest = "ab" * 32
    assert layout.uris_path(ID, digest) == f"lists/encoder={ID}/uris-{digest[:32]}.parquet"


def test_paths_are_recognised():
    part = layout.part_path(EMBEDDINGS, ID, "run-1", "0a1b")
    assert layout.is_part(part)
    assert layout.run_of(part) == "run-1"
    assert layout.is_uris(layout.uris_path(ID, "ab" * 32))
    assert not layout.is_part(f"embeddings/encoder={ID}/run=run-1/_SUCCESS")
    assert not layout.is_uris(part)
    assert layout.run_of("manifest.json") is None


@pytest.mark.parametrize("command", [layout.COMPACT, layout.REPAIR])
def test_parts_of_upkeep(command):
    run_id = layout.new_upkeep_id(command)
    assert layout.is_of_upkeep(layout.part_path(EMBEDDINGS, ID, run_id, "0a"))
    assert not layout.is_of_upkeep(layout.part_path(EMBEDDINGS, ID, "nightly", "0a"))
    with pytest.raises(InputError, match="are for upkeep's parts"):
        layout.check_run_id(run_id)


@pytest.mark.parametrize("run_id", ["a", "2026-11-27T00.15", "A_b-C.9", "x" * 128])
def test_run_ids(run_id):
    assert layout.check_run_id(run_id) == run_id


@pytest.mark.parametrize(
    "run_id", ["", ".", "..", "../x", "a/b", "a b", "-a", "_a", "\u00e4", "x" * 129, "a\n"]
)
def test_run_ids_that_can_not_be_part_of_a_path(run_id):
    with pytest.raises(InputError, match="--run-id"):
        layout.check_run_id(run_id)


def test_outputs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert layout.output_folder("out/") == str(tmp_path / "out")
    assert layout.output_folder("gs://bucket/out/") == "gs://bucket/out"


@pytest.mark.parametrize("output", ["s3://bucket/out", "hdfs://host/out", "azfs://a/b"])
def test_outputs_in_stores_that_are_only_read(output):
    with pytest.raises(InputError, match=r"--output .*is for input only; expected a local path"):
        layout.output_folder(output)


def test_staged_parts():
    final = layout.part_path(EMBEDDINGS, ID, "run-1", "0a1b")
    waiting = layout.staged(final)
    assert waiting == f"staging/{final}"
    assert (layout.is_staged(waiting), layout.is_staged(final)) == (True, False)
    assert layout.final(waiting) == layout.final(final) == final
    assert layout.run_of(waiting) == "run-1"
    assert layout.is_part(waiting)


OWN = [
    "manifest.json",
    ".manifest.json.0123abcd.tmp",
    "runs/run-1.json",
    "runs/.run-1.json.0123abcd.tmp",
    "runs/.probe.0123abcd.tmp",
    *(
        f"{folder}/encoder={ID}/run=run-1/{name}"
        for folder in ("embeddings", "failures", "changes", "staging/embeddings")
        for name in ("part-0a.parquet", ".part-0a.parquet.0123abcd.tmp")
    ),
    f"lists/encoder={ID}/uris-0a.parquet",
    f"lists/encoder={ID}/.uris-0a.parquet.0123abcd.tmp",
]
PART = f"embeddings/encoder={ID}/run=run-1/part-0a.parquet"
OTHER = [
    *("", ".", "..", "/", "x", "../x", "/etc/passwd", "runs", "runs/", "runs/x", "runs/../x.json"),
    *("runs/a/b.json", "runs/.json", "runs/a\n.json", "runs/ä.json", f"runs/{'x' * 129}.json"),
    *(f"./{PART}", f"/{PART}", f"{PART}/", f"{PART}\n", f"{PART}\0", f" {PART}", f"{PART}/.."),
    *(f"gs://b/{PART}", f"embeddings/{PART}", f"staging/staging/{PART}", PART.replace("/", "//")),
    *(PART.replace("/", "\\"), PART.replace(ID, ".."), PART.replace(ID, ID.upper())),
    *(PART.replace(ID, ID[:15]), PART.replace("run-1", ".."), PART.replace("run-1", "a/../b")),
    *(PART.replace("0a", ""), PART.replace("0a", "xy"), PART.replace("0a", "a" * 65)),
    *("runs/.tmp", "runs/.a/../b.tmp", ".x.tmp", "runs/a.tmp", "runs/.a\n.tmp"),
    *(PART.replace("embeddings", "elsewhere"), f"staging/lists/encoder={ID}/uris-0a.parquet"),
    *(f"staging/changes/encoder={ID}/run=r/part-0a.parquet", PART.replace("0a", "\u0661")),
]


@pytest.mark.parametrize("path", OWN)
def test_own_paths(path, tmp_path):
    assert layout.full_path(str(tmp_path), path) == f"{tmp_path}/{path}"
    assert layout.full_path("gs://b/out", path) == f"gs://b/out/{path}"


@pytest.mark.parametrize("path", OTHER, ids=repr)
@pytest.mark.parametrize("output", ["/out", "gs://b/out"])
def test_other_paths_are_refused(output, path):
    with pytest.raises(PathError, match="is no path of a file in a dataset"):
        layout.full_path(output, path)
    if not path.startswith("runs"):
        with pytest.raises(PathError, match="is no path of a folder in a dataset"):
            layout.full_folder(output, path)


def test_links_are_refused(tmp_path):
    """The output itself may be reached through links."""
    real = tmp_path / "real"
    (real / "runs").mkdir(parents=True)
    (tmp_path / "out").symlink_to(real)
    output = str(tmp_path / "out")
    assert layout.full_path(output, "runs/a.json") == f"{output}/runs/a.json"
    (real / "runs" / "a.json").symlink_to(tmp_path / "gone")
    with pytest.raises(PathError, match=r"runs/a\.json is a symbolic link"):
        layout.full_path(output, "runs/a.json")
    assert layout.full_path(output, "runs/a.json", of_link=True) == f"{output}/runs/a.json"
    (real / "embeddings").symlink_to(tmp_path)
    with pytest.raises(PathError, match="out/embeddings is a symbolic link"):
        layout.full_path(output, PART, of_link=True)
    with pytest.raises(PathError, match="out/embeddings is a symbolic link"):
        layout.full_folder(output, "embeddings")
