"""README and docs agree with the code: commands, options, columns, targets, links."""

import pathlib
import re
import shlex

import pytest

import encoder.__main__
import pipeline.__main__
from encoder.spec import EncoderSpec, read_spec
from pipeline.dataset.schema import schema_of
from pipeline.records import EMBEDDINGS, FAILURES

ROOT = pathlib.Path(__file__).parents[2]
PAGES = [
    *sorted(ROOT.glob("*.md")),
    *(page for folder in ("deploy", "docs") for page in sorted((ROOT / folder).rglob("*.md"))),
]
README = (ROOT / "README.md").read_text()
PARSERS = {
    "encoder": encoder.__main__.build_parser(),
    "pipeline": pipeline.__main__.build_parser(),
}


def commands(text):
    for line in re.findall(r"^python -m (?:encoder|pipeline) .*$", text, re.M):
        yield line.partition(" #")[0]


def subcommands(parser):
    return next(action.choices for action in parser._actions if action.choices)


@pytest.mark.parametrize("line", list(commands(README)))
def test_commands_parse(line):
    _, _, module, *arguments = shlex.split(line)
    _, unknown = PARSERS[module].parse_known_args(arguments)
    assert not unknown


def test_every_command_and_option_is_in_the_readme():
    for module, parser in PARSERS.items():
        for name, command in subcommands(parser).items():
            assert f"python -m {module} {name}" in README
            for action in command._actions:
                for option in action.option_strings:
                    if option.startswith("--") and option not in ("--help", "--json"):
                        assert f"`{option}`" in README or f" {option} " in README, option


def test_every_option_in_the_readme_exists():
    known = {"--strict", "--runner", "--region"}  # options of mypy and Beam
    for parser in PARSERS.values():
        for command in subcommands(parser).values():
            known.update(option for action in command._actions for option in action.option_strings)
    assert set(re.findall(r"(?<![\w-])--[a-z][a-z_-]+", README)) <= known


def test_columns(small_bundle):
    spec = read_spec(small_bundle)
    for kind in (EMBEDDINGS, FAILURES):
        for name in schema_of(kind, spec).names:
            assert f"`{name}`" in README


def test_keys_of_the_spec():
    text = (ROOT / "docs" / "contracts.md").read_text()
    for name in EncoderSpec.__dataclass_fields__:
        assert f"`{name}`" in text


def test_make_targets_exist():
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.M))
    named = set(re.findall(r"`?\bmake ([a-z]+)\b(?=`|\s+#)", README))
    assert {"demo", "test"} <= named <= targets


def test_ci_calls_the_readmes_test_command():
    assert "make test" in (ROOT / ".ci" / "run").read_text().splitlines()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)#]+)", page.read_text()):
        assert "://" in target or (page.parent / target).exists(), target


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_nothing_is_left_to_be_filled_in(page):
    assert not re.findall(r"@@|TODO|TBD|XXX", page.read_text())


def test_python_examples_run(tmp_path, monkeypatch, small_bundle, images):
    """The block that uses a bundle, with a small one."""
    block = next(b for b in re.findall(r"```python\n(.*?)```", README, re.S) if "get_encoder" in b)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my-encoder").symlink_to(small_bundle)
    (tmp_path / "photo.jpg").write_bytes((images / "a" / "0.jpg").read_bytes())
    block = block.replace('open("photo.jpg", "rb").read()', 'Path("photo.jpg").read_bytes()')
    names = {"Path": pathlib.Path}
    exec(block, names)  # our own README
    assert names["cut"].output_shape == (None, 512)
    assert names["vector"].shape == (16,)


def test_python_examples_with_a_dataset(tmp_path, monkeypatch, small_bundle, photo_folder, capsys):
    """All blocks of "What you get", one after the other, with a small encoder."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "vgg16").symlink_to(small_bundle)
    (tmp_path / "other.jpg").write_bytes((photo_folder / "china.jpg").read_bytes())
    words = ["run", "--input", str(photo_folder), "--encoder", "vgg16", "--output", "embeddings"]
    assert pipeline.__main__.main(words) == 0
    section = README.partition("## What you get")[2].partition("\n## ")[0]
    blocks = re.findall(r"```python\n(.*?)```", section, re.S)
    assert len(blocks) == 5
    names = {}
    capsys.readouterr()
    for block in blocks:
        exec(block.replace("9fa23a2c560b6581", read_spec(small_bundle).id), names)  # our own README
    table, vectors = names["table"], names["vectors"]
    assert vectors.dtype == "float32"
    assert vectors.tolist() == table["embedding"].to_pylist()
    shown = [line.split(maxsplit=1) for line in capsys.readouterr().out.splitlines()]
    assert len(shown) == 10
    assert [cosine for cosine, _ in shown] == sorted((each for each, _ in shown), reverse=True)
    assert shown[0][1].endswith("motorcycle_right.png")
    same = names["uris"].index(str(photo_folder / "china.jpg"))
    assert names["nearest"][0] == same
    assert names["found"][0] == (names["uris"][same], pytest.approx(1, abs=1e-5))
    assert sorted(names["matrix"].tolist()) == sorted(vectors.tolist())
