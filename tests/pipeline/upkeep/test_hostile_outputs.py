"""Whoever writes into an output may write anything: nothing outside it is read, moved or removed.

Each hostile file is given to every command. All say which file is wrong, none ends with a
traceback, ``verify --repair`` mends the dataset, and the next run has every row.
"""

import json
import shutil

import pyarrow.parquet as pq
import pytest

from pipeline.__main__ import main
from pipeline.dataset.reader import open_dataset
from pipeline.errors import JobError
from pipeline.upkeep.verify import verify
from tests.support.damage import by_glob, edit_manifest, entries, manifest_of, parts, run

pytestmark = pytest.mark.slow

ID = "0123456789abcdef"
PART = f"embeddings/encoder={ID}/run=r/part-0a.parquet"
TEXTS = {
    "empty": b"",
    "spaces": b" \n",
    "byte order mark": b"\xef\xbb\xbf{}",
    "utf-16": "{}".encode("utf-16"),
    "no utf-8": b'{"format": "\xff"}',
    "half a character": b'{"format": "\\ud800"}',
    "cut": b'{"format": ',
    "list": b"[]",
    "text": b'"text"',
    "number": b"7",
    "null": b"null",
    "NaN": b'{"format": NaN}',
    "infinite": b'{"format": 1e999}',
    "long number": b'{"format": ' + b"9" * 5000 + b"}",
    "key twice": b'{"format": "image-embeddings/1", "format": "image-embeddings/1"}',
    "brackets": b"[" * 200_000,
    "braces": b'{"format":' * 200_000,
}
PATHS = [
    "",
    ".",
    "..",
    "../../canary.txt",
    "/etc/passwd",
    "canary.txt",
    "manifest.json",
    "runs/../../canary.json",
    f"embeddings/encoder={ID}/run=../part-0a.parquet",
    f"embeddings/encoder={ID}/run=r/../../../../canary.txt",
    f"embeddings/encoder={ID}//run=r/part-0a.parquet",
    f"./{PART}",
    f"/{PART}",
    f"{PART}/",
    f"{PART}\n",
    f"{PART}\0",
    f"embeddings\\encoder={ID}\\run=r\\part-0a.parquet",
    f"gs://bucket/{PART}",
    f"file:///{PART}",
    f"embeddings/gs://b/encoder={ID}/run=r/part-0a.parquet",
    PART.replace(ID, ID.upper()),
    PART.replace(ID, "../.."),
    PART.replace("part-0a", "part-xyz"),
    PART.replace("embeddings", "elsewhere"),
    f"staging/staging/{PART}",
    f"embeddings/encoder={ID}/run=r/\x1b[31m.parquet",
]
SPECS = {
    "dim": [0, -1, 1 << 40, True, "16", None],
    "height": [0, -1, 1 << 20],
    "channels": [0, 2],
    "slices": [[], [[0, 0]], [[1, 16]], [[0, 8]]],
    "layers": [[], "pool2"],
    "background": [[0, 0, 256], [0, 0, -1]],
    "max_difference": [-1.0, "0"],
    "id": ["../../x", ""],
    "versions": [{"keras": 3}],
}


def in_entry(field, value):
    def change(values):
        (entry,) = values["encoders"].values()
        entry[field] = value

    return change


def in_part(field, value, kind="embeddings"):
    return lambda values: entries(values, kind)[0].update({field: value})


def in_spec(field, value):
    def change(values):
        (entry,) = values["encoders"].values()
        entry["spec"][field] = value

    return change


def other_encoder(values):
    (entry,) = values["encoders"].values()
    values["encoders"]["../../../canary"] = json.loads(json.dumps(entry))


def same_part_twice(values):
    entries(values).append(dict(entries(values)[0]))


CHANGES = {
    **{f"removed {path!r}": (lambda v, p=path: v["removed"].append(p)) for path in PATHS},
    **{f"part {path!r}": in_part("path", path) for path in [*PATHS[:8], PART, f"staging/{PART}"]},
    **{f"failure {path!r}": in_part("path", path, "failures") for path in [*PATHS[3:5], PART]},
    **{f"list {path!r}": in_entry("lists", {"/l.csv": path}) for path in [*PATHS[3:8], PART]},
    **{
        f"publishing {path!r}": (lambda v, p=path: v["publishing"].append(p))
        for path in [*PATHS[:8], f"staging/{PART}"]
    },
    **{
        f"run {key!r}": (lambda v, k=key: v["runs"].update({k: "x"}))
        for key in ("", "..", "../../canary", "a/b", "a\0", "x" * 200)
    },
    **{f"rows {value!r}": in_part("rows", value) for value in (-1, 1 << 60, 1.5, True, "2")},
    **{f"bytes {value!r}": in_part("bytes", value) for value in (-1, 1 << 60)},
    **{f"crc32c {value!r}": in_part("crc32c", value) for value in ("../..", "0" * 9, 7)},
    **{f"spec {f} {v!r}": in_spec(f, v) for f, values in SPECS.items() for v in values},
    "inputs": in_entry("inputs", [{"base": 7}]),
    "encoder": other_encoder,
    "part twice": same_part_twice,
}


@pytest.fixture
def shell(tmp_path, collection, output, small_bundle, capsys):
    """Runs a command and checks that it changes nothing beside the output.

    Beside it are files at the places that hostile paths lead to.
    """
    images = collection[0]
    for name in ("canary.txt", "canary.json", "images/canary.txt", "copy0/canary.txt"):
        place = tmp_path / name
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text("stays")
    job = ["--input", images, "--encoder", small_bundle, "--output", output]
    words = {
        "status": [output],
        "changes": [output],
        "verify": [output],
        "compact": [output],
        "prune": [output, "--runs-older-than", "30d"],
        "plan": job,
        "run": job,
    }

    def outside():
        found = (path for path in tmp_path.rglob("*") if path.is_file())
        return {p: p.read_bytes() for p in found if not p.is_relative_to(output)}

    def call(command, *more):
        before = outside()
        capsys.readouterr()
        code = main([command, *map(str, words[command]), *more])
        assert outside() == before
        told = capsys.readouterr()
        assert "not foreseen" not in told.err, told.err
        return code, told.out + told.err

    call.commands = list(words)
    return call


def check_all_refuse(shell, output):
    for command in shell.commands:
        code, text = shell(command)
        assert (code, "manifest.json" in text) == (1, True), (command, code, text)
    with pytest.raises(JobError, match=r"manifest\.json is damaged"):
        open_dataset(output)


def check_is_mended(shell, output):
    assert shell("verify", "--repair")[0] == 0
    assert [str(each) for each in verify(output) if not each.note] == []
    assert by_glob(output) == sorted(map(repr, open_dataset(output).to_table().to_pylist()))


def check_next_run(output, collection, small_bundle):
    run(collection[0], small_bundle, output)
    assert verify(output) == []
    assert len(by_glob(output)) == open_dataset(output).count_rows() == 6


@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS)
def test_manifests_that_are_none(shell, output, text):
    (output / "manifest.json").write_bytes(text)
    check_all_refuse(shell, output)
    check_is_mended(shell, output)


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_hostile_manifests(shell, output, change):
    edit_manifest(output, change)
    check_all_refuse(shell, output)
    check_is_mended(shell, output)


def test_after_the_repair_a_run_has_every_row(shell, output, collection, small_bundle):
    for change in (in_part("path", PATHS[3]), in_part("rows", -1), in_spec("dim", 0)):
        edit_manifest(output, change)
        check_is_mended(shell, output)
        check_next_run(output, collection, small_bundle)


def test_entries_that_are_right_stay(shell, output):
    """Only what leads elsewhere is left out: inputs, runs and parts are still known."""
    before = manifest_of(output)
    edit_manifest(output, lambda values: values["removed"].append("../../canary.txt"))
    edit_manifest(output, in_part("path", "../../canary.txt"))
    assert shell("verify", "--repair")[0] == 0
    after = manifest_of(output)
    assert after["encoders"] == before["encoders"]
    assert after["runs"] == before["runs"]


def test_what_is_live_is_not_removed(shell, output, collection, small_bundle):
    """Paths in "removed" may be right, and those of live files."""
    live = [entry["path"] for entry in entries(manifest_of(output))]
    edit_manifest(output, lambda values: values["removed"].extend([*live, "runs/run0.json"]))
    shell("compact", "--target-size", "1")
    shell("prune")
    assert shell("run")[0] == 0
    assert verify(output) == []
    assert (output / "runs" / "run0.json").exists()
    assert open_dataset(output).count_rows() == 6


RECORDS = {
    **TEXTS,
    **{
        f"{field} {value!r}": {field: value}
        for field, value in [
            *(("listed", value) for value in (-1, 1 << 60, "3", 1.5, True, None)),
            *(("run_id", value) for value in ("../../canary", "", 7)),
            *(("encoder_id", value) for value in ("../..", "", 7)),
            *(("started", value) for value in ("", "yesterday", 7, "2026-01-01T00:00:00\n")),
            *(("seconds", value) for value in (-1, "1")),
            *(("inputs", value) for value in ("x", [1])),
            *(("notes", value) for value in ("x", [1])),
        ]
    },
}


@pytest.mark.parametrize("record", RECORDS.values(), ids=RECORDS)
def test_hostile_records(shell, output, record):
    path = output / "runs" / "run1.json"
    if isinstance(record, dict):
        record = json.dumps({**json.loads(path.read_text()), **record}).encode()
    path.write_bytes(record)
    code, text = shell("status")
    assert code == 0
    assert "runs/run1.json" in "".join(text.split())
    code, text = shell("verify")
    assert (code, "runs/run1.json" in text) == (1, True)
    assert shell("changes")[0] == shell("compact")[0] == 0
    check_is_mended(shell, output)


@pytest.mark.parametrize("what", ["part", "folder", "record", "log", "manifest", "kind"])
def test_links_that_lead_out(shell, output, collection, small_bundle, tmp_path, what):
    """A link is neither followed nor replaced; what it leads to stays."""
    part = parts(output)[0]
    place = {
        "part": part,
        "folder": part.parent,
        "record": output / "runs" / "run1.json",
        "log": next((output / "changes").rglob("run=run1/*")),
        "manifest": output / "manifest.json",
        "kind": output / "embeddings",
    }[what]
    target = tmp_path / "elsewhere"
    shutil.move(place, target)
    place.symlink_to(target)
    code, text = shell("verify")
    assert code == 1
    assert "is a symbolic link" in text
    for command in shell.commands:
        shell(command)
    code, text = shell("verify", "--repair")
    if what in ("manifest", "kind"):  # to be put right by hand: it may be on purpose
        assert (code, "is a symbolic link" in text) == (1, True)
        return
    assert code == 0
    assert not place.is_symlink()
    check_next_run(output, collection, small_bundle)


@pytest.mark.parametrize("column", ["embedding", "sha256", "uri"])
def test_parts_with_other_columns(shell, output, column):
    part = parts(output)[0]
    table = pq.read_table(part, partitioning=None)
    index = table.schema.names.index(column)
    pq.write_table(table.set_column(index, column, [[7] * len(table)]), part)
    for command in ("verify", "compact", "run"):
        code, text = shell(command)
        assert (code, part.name in text) == (1, True), (command, text)


@pytest.mark.parametrize("change", ["uri", "change", "value"])
def test_hostile_logs(shell, output, change):
    log = next((output / "changes").rglob("run=run1/*"))
    table = pq.read_table(log, partitioning=None)
    if change == "value":
        table = table.set_column(1, table.schema.field(1), [["moved"] * len(table)])
    else:
        table = table.drop_columns([change])
    pq.write_table(table, log)
    code, text = shell("changes")
    assert (code, log.name in text) == (1, True)
