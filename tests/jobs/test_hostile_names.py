"""Names that would control a terminal, or forge a line, are shown as escapes by every command."""

import json
import re
import subprocess
import sys
import zipfile

import pytest

from tests.conftest import write_image
from tests.jobs.test_terminal import at_a_terminal
from tests.support.dataset import Dataset

FOLDER = "photos\x1b]0;title\x07"
NAMES = [
    "clear\x1b[2J.jpg",
    "line\nerror: forged\n.jpg",
    "return\rerror: forged.jpg",
    "order\u202egpj.jpg",
    "markup[red]x[link=y]z:smile:.jpg",
    "c1\x9b31m\x85error: forged.jpg",
    "separator\u2028error: forged.jpg",
    b"bytes\xff.jpg".decode(errors="surrogateescape"),
]
SHOWN = re.compile(r"[^\x00-\x09\x0b-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069]*")


def output_of(*words, code=0):
    """What a command prints in a pipe, after checking that no line is forged."""
    done = subprocess.run([sys.executable, "-m", *map(str, words)], capture_output=True)
    check(done.stdout.decode())
    check(done.stderr.decode())
    assert code in (None, done.returncode), done.stderr.decode()
    return (done.stdout + done.stderr).decode()


def check(text):
    assert SHOWN.fullmatch(text), ascii(text)
    assert not [line for line in text.splitlines() if line.lstrip().startswith("error: forged")]
    assert "\x1b" not in text


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    folder = tmp_path_factory.mktemp("hostile") / FOLDER
    folder.mkdir()
    for name in NAMES:
        (folder / name).write_bytes(b"no image")
    for number in range(12):
        write_image(folder / f"good\x1b[1m{number}.png", number)
    with zipfile.ZipFile(folder / "packed\x1b[2J.zip", "w") as archive:
        archive.writestr("in\nerror: forged\x1b[2J.jpg", b"no image")
        archive.writestr("other\x1b[2J.txt", b"")
    (folder / "aside.other\x1b[2J").write_bytes(b"")
    return folder


@pytest.fixture(scope="module")
def output(photos, small_bundle):
    """A dataset in which the names are rows and failures."""
    dataset = Dataset(photos.parent / "out\x1b[2J", small_bundle)
    dataset.run(photos)
    return photos.parent / "out\x1b[2J"


def test_run_and_plan(photos, small_bundle, tmp_path):
    words = ("--input", photos, "--encoder", small_bundle, "--output", tmp_path / "out\x1b[2J")
    shown = output_of("pipeline", "plan", *words)
    assert r"photos\x1b]0;title\x07" in shown
    shown = output_of("pipeline", "run", *words, "--verbose")
    assert r"photos\x1b]0;title\x07" in shown
    assert "12" in shown
    code, lines = at_a_terminal("pipeline", "run", *words, "--retry-failures")
    assert code == 0
    check("\n".join(lines))
    assert r"out\x1b[2J" in "".join(lines)


def test_every_other_command(photos, output):
    assert r"out\x1b[2J" in output_of("pipeline", "status", output)
    assert r"out\x1b[2J" in output_of("pipeline", "verify", output)
    output_of("pipeline", "compact", output, "--dry-run")
    prefix = f"{photos}/none\nerror: forged"
    assert r"none\nerror: forged" in output_of("pipeline", "prune", output, "--uri-prefix", prefix)
    code, lines = at_a_terminal("pipeline", "status", output)
    assert code == 0
    check("\n".join(lines))


def test_changes_are_json_in_a_line_each_with_the_exact_uris(photos, output):
    changes = [json.loads(each) for each in output_of("pipeline", "changes", output).splitlines()]
    assert {each["uri"] for each in changes} == {
        str(path) for path in photos.iterdir() if path.suffix == ".png"
    }


def test_verify_and_repair_name_hostile_files(photos, small_bundle):
    dataset = Dataset(photos.parent / "damaged", small_bundle)
    dataset.run(photos)
    (part,) = (photos.parent / "damaged" / "embeddings").rglob("*.parquet")
    part.with_name("part-x\nerror: forged\x1b[2J.parquet").write_bytes(part.read_bytes())
    part.write_bytes(b"damaged")
    for words in (("--repair", "--dry-run"), ("--repair",)):
        shown = output_of("pipeline", "verify", photos.parent / "damaged", *words, code=None)
        assert "finding" in shown


def test_names_on_the_command_line(tmp_path, small_bundle):
    name = "no\x1b]0;t\x07\nerror: forged"
    output = tmp_path / "out"
    good = ("--input", tmp_path, "--encoder", small_bundle, "--output", output)
    for words in (
        ("run", "--input", f"/{name}", *good[2:]),
        ("run", *good, "--run-id", name),
        ("run", *good, f"--option-{name}"),
        ("run", *good, f"--max-pixels={name}"),
        ("run", *good, f"--gpu={name}"),
        ("run", *good, "--num_workers", name),
        (name,),
        ("changes", name),
        ("changes", output, "--to", name),
        ("status", name),
        ("prune", output, "--encoder", name),
        ("doctor", "--encoder", name),
    ):
        assert r"\x1b]0;t\x07" in output_of("pipeline", *words, code=2)
    for words in (
        ("inspect", name),
        ("extract", name, "--output", output),
        ("extract", "model", "--output", output, "--pooling", name),
        ("inspect", "model", f"--other-{name}"),
    ):
        assert r"\x1b]0;t\x07" in output_of("encoder", *words, code=2)


def test_columns_and_values_of_lists(tmp_path, small_bundle):
    (tmp_path / "list.csv").write_text('"a\x1b[2J","b"\nx.png,1\n')
    (tmp_path / "list.jsonl").write_text(json.dumps({"a\nerror: forged\x1b[2J": 1}) + "\n")
    for name in ("list.csv", "list.jsonl"):
        words = ("--encoder", small_bundle, "--output", tmp_path / "out")
        shown = output_of("pipeline", "run", "--input", tmp_path / name, *words, code=None)
        assert r"\x1b[2J" in shown


LAYER = "layer\x1b[2J\nerror: forged\x9b\u202e[red]x"


@pytest.mark.parametrize("name", [pytest.param("m.h5", marks=pytest.mark.long), "m\x1b[2J.keras"])
def test_names_in_models(name, tmp_path):
    keras = pytest.importorskip("keras")
    image = keras.Input((32, 32, 3), name="input")
    values = keras.layers.Conv2D(4, 3, name=LAYER)(image)
    values = keras.layers.Conv2DTranspose(3, 3, name="up")(keras.layers.MaxPooling2D()(values))
    keras.Model(image, values, name=f"model{LAYER}").save(tmp_path / name)
    shown = output_of("encoder", "inspect", tmp_path / name, "--plot", tmp_path / "p.svg")
    assert r"layer\x1b[2J\nerror: forged\x9b\u202e[red]x" in shown
    assert "\x1b" not in (tmp_path / "p.svg").read_text()
    layers = json.loads(output_of("encoder", "inspect", tmp_path / name, "--json"))["layers"]
    assert LAYER in [layer["name"] for layer in layers]
    words = ("--output", tmp_path / "b\x1b[2J", "--layer", LAYER)
    shown = output_of("encoder", "extract", tmp_path / name, *words, code=None)
    assert r"layer\x1b[2J\nerror: forged" in shown
    code, lines = at_a_terminal("encoder", "inspect", tmp_path / name)
    assert code == 0
    check("\n".join(lines))


def test_fields_of_manifests_and_records(photos, output):
    (record,) = (output / "runs").iterdir()
    changed = json.loads(record.read_text()) | {"started": "\x1b[2J\nerror: forged"}
    record.write_text(json.dumps(changed))
    shown = output_of("pipeline", "status", output)  # which checks that nothing is forged
    assert "started" in shown
