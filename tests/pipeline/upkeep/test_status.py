import contextlib
import io
import json
import shutil

import pytest

import encoder
from encoder.spec import read_spec
from pipeline.__main__ import main
from pipeline.errors import JobError
from pipeline.upkeep.status import encoder_facts, print_status, read_status
from tests.conftest import write_image
from tests.support.damage import edit_manifest, parts, run


def text_of(output, width=160):
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(io.StringIO()) as shown:
        patch.setenv("COLUMNS", str(width))
        print_status(read_status(output))
    return shown.getvalue()


def cells(output, first, width=160):
    """The cells of the table row that starts with a text."""
    line = next(line for line in text_of(output, width).splitlines() if line[1:].startswith(first))
    return line.split()


def test_rows_parts_and_sizes(output, small_bundle):
    name = json.loads((small_bundle / "encoder.json").read_text())["id"]
    row = cells(output, name)
    assert row[:5] == [name, "16", "6", "3", "6"]
    every = [*parts(output), *parts(output, "failures")]
    size = sum(path.stat().st_size for path in every)
    assert row[5:] == [f"{size / 1024:.1f}", "KiB"]


def test_runs_with_their_counts(output):
    row = cells(output, "run1")
    assert row[0] == "run1"
    assert " ".join(row[4:]) == "6 2 embedded, 3 unchanged, 1 failed"


def test_failures_by_reason_with_an_example(output):
    (reason,) = read_status(output).reasons
    assert reason[1:4] == ("decode", "UnidentifiedImageError", 3)
    assert reason.uri.endswith(".jpg")
    row = cells(output, "decode", width=300)
    assert row[:3] == ["decode", "UnidentifiedImageError", "3"]
    assert "not an image" in " ".join(row)


def test_brackets_are_shown_as_they_are(small_bundle, tmp_path):
    images = tmp_path / "[bold]img"
    write_image(images / "0.png", 0)
    (images / "[red]x.jpg").write_text("no image")
    run(tmp_path, small_bundle, tmp_path / "[out]")
    text = text_of(tmp_path / "[out]", width=300)
    assert "[bold]img/[red]x.jpg" in text
    assert f"dataset {tmp_path}/[out]" in text


def test_a_narrow_terminal_shows_all(output):
    text = text_of(output, width=60)
    assert all(len(line) <= 60 for line in text.splitlines()[1:])  # the path is one word
    assert "6 unchanged" in " ".join(text.split())


def test_what_lies_about(output):
    assert "not in the manifest" not in text_of(output)
    part = parts(output)[0]
    (part.parents[1] / "run=dead").mkdir()
    shutil.copy(part, part.parents[1] / "run=dead" / part.name)
    assert f"1 file ({part.stat().st_size / 1024:.1f} KiB) not in the manifest" in text_of(output)


def test_many_runs(output):
    record = json.loads((output / "runs" / "run1.json").read_text())
    for number in range(30):
        path = output / "runs" / f"more{number}.json"
        path.write_text(json.dumps({**record, "run_id": f"more{number}"}))
    edit_manifest(
        output, lambda values: values["runs"].update({f"more{n}": "x" for n in range(30)})
    )
    text = text_of(output)
    assert " more29 " in text
    assert " more10 " in text
    assert " more9 " not in text
    assert "and 13 earlier runs in" in text


@pytest.mark.parametrize("content", [None, "{", "{}", '{"run_id": "run1", "started": 5}'])
def test_a_record_that_is_damaged(output, content):
    path = output / "runs" / "run1.json"
    if content is None:
        path.unlink()
    else:
        path.write_text(content)
    assert "its record" in text_of(output)
    assert "run2" in text_of(output)


def test_a_damaged_manifest_is_named_with_what_to_do(output, capsys):
    (output / "manifest.json").write_text("{}")
    assert main(["status", str(output)]) == 1
    err = capsys.readouterr().err
    assert f"{output}/manifest.json is damaged" in err
    assert "verify OUTPUT --repair" in err
    with pytest.raises(JobError):
        read_status(output)


def test_two_encoders(output, collection, small_model_file, tmp_path):
    encoder.extract(small_model_file, tmp_path / "second", layer="pool1")
    run(collection[0], tmp_path / "second", output)
    found = read_status(output)
    assert sorted(state.spec.dim for state in found.encoders) == [8, 16]
    assert [reason.images for reason in found.reasons] == [3, 3]
    assert text_of(output).count("decode") == 2


def test_a_bucket(bucket, collection, small_bundle, capsys):
    words = ["run", "--input", collection[0], "--encoder", small_bundle, "--output", f"{bucket}/o"]
    assert main([str(word) for word in words]) == 0
    assert main(["status", f"{bucket}/o"]) == 0
    assert f"dataset {bucket}/o" in capsys.readouterr().out


def test_no_dataset(tmp_path, capsys):
    assert main(["status", str(tmp_path)]) == 2
    assert "is not a dataset" in capsys.readouterr().err


def test_a_damaged_part_of_failures_is_named(output, capsys):
    part = parts(output, "failures")[0]
    part.write_bytes(part.read_bytes()[:100])
    assert main(["status", str(output)]) == 1
    err = capsys.readouterr().err
    assert f"{part.relative_to(output)} in the output can't be read" in err
    assert "verify OUTPUT --repair" in err


def test_what_each_encoder_was_made_from(output, small_bundle, small_model_file):
    found = " ".join(text_of(output, width=300).split())
    name = json.loads((small_bundle / "encoder.json").read_text())["id"]
    facts = "layer pool2; pooling gap; preprocess unit; input 32x32x3"
    assert f"{name} {small_model_file}; {facts} " in found
    assert facts in " ".join(text_of(output, width=80).split())


def test_facts_that_are_not_the_default(small_bundle):
    spec = read_spec(small_bundle).replace(
        source="a.keras",
        layers=("one", "two"),
        pooling="gem",
        gem_p=2.5,
        normalize=True,
        resize="box",
        fit="pad",
        decode="fast",
        background=(1, 2, 3),
        precision="bfloat16",
        slices=((0, 8), (8, 16)),
    )
    assert encoder_facts(spec) == (
        "a.keras; layers one, two; pooling gem 2.5; unit length; preprocess unit; input 32x32x3; "
        "resize box; fit pad; decode fast; background 1,2,3; precision bfloat16"
    )


def test_json(output, small_bundle, capsys):
    assert main(["status", str(output), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    (made,) = found["encoders"]
    spec = json.loads((small_bundle / "encoder.json").read_text())
    del spec["files_sha256"], spec["compiled"]
    assert (made["spec"], made["id"]) == (spec, spec["id"])
    assert (made["embeddings"], made["failures"], made["parts"]) == (6, 3, 6)
    assert [run["run_id"] for run in found["runs"]][-1] == "run2"
    assert found["runs"][-1]["record"]["listed"] == 6 + 3
    assert found["reasons"][0]["images"] == 3
    assert found["left_files"] == 0
