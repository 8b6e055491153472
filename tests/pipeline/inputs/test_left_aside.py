"""What a listing leaves aside is said in lines that name the way on."""

import pytest

from encoder.storage.registry import store_for
from pipeline.inputs.files import list_files
from pipeline.inputs.left_aside import LeftAside
from pipeline.inputs.source import parse_input
from pipeline.runs.notes import note_lines


def lines(text, root, **options):
    """The lines about an input, sorted, without the root in its paths."""
    source = parse_input(str(text), **options)
    aside = LeftAside(source)
    aside.is_empty = not list(list_files(source, aside))
    return sorted(line.replace(f"{root}/", "") for line in note_lines(aside.notes()))


def touch(folder, *names):
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def test_files_with_other_extensions(tmp_path):
    touch(
        tmp_path, "p/a.jpg", "p/x.ppm", "p/s/y.PPM", "p/n", "p/o.jpg_large", "p/l.txt", "p/s/m.csv"
    )
    start = "--input p: 1 file left aside"
    assert lines(tmp_path / "p", tmp_path) == [
        f"{start} with the extension .csv; --input 'p/**/*.csv' reads them, such as p/s/m.csv",
        f"{start} with the extension .jpg_large; --include '*.jpg_large' takes them, such as "
        "p/o.jpg_large",
        f"{start} with the extension .txt; --input 'p/*.txt' reads them, such as p/l.txt",
        f"{start} without an extension; --include with their names takes them, such as p/n",
        "--input p: 2 files left aside with the extension .ppm; --include '*.ppm' takes them, such "
        "as p/x.ppm",
    ]


@pytest.mark.parametrize(
    "name", ["x.jpg?size=large", "x.jpg:large", "x.jpg.1", "x.jpg!d", "x.jpg~"]
)
def test_the_advice_for_odd_extensions_works(tmp_path, name):
    touch(tmp_path, f"p/{name}")
    pattern = f"*{name.removeprefix('x')}" if name != "x.jpg.1" else "*.1"
    (found,) = (line for line in lines(tmp_path / "p", tmp_path) if "finds" not in line)
    assert f"--include '{pattern}' takes them" in found
    assert lines(tmp_path / "p", tmp_path, include=(pattern,)) == [
        f"--include {pattern!r}: matched 1 file, such as p/{name}"
    ]


def test_many_extensions_are_summed_up(tmp_path):
    touch(tmp_path, *(f"p/{n}.e{n:02}" for n in range(20)), "p/a.most", "p/b.most", "p/c.jpg")
    found = lines(tmp_path / "p", tmp_path)
    assert len(found) == 6
    assert "2 files left aside with the extension .most" in "\n".join(found)
    assert (
        "16 files left aside with other extensions (.e04, .e05, .e06, .e07, .e08, ...)"
        in "\n".join(found)
    )


def test_what_stands_behind_a_dot_is_not_always_an_extension(tmp_path):
    touch(tmp_path, "p/a.jpg", "p/Dr. Who at home", "p/ends with a dot.", "p/x.{a}")
    (line,) = lines(tmp_path / "p", tmp_path)
    assert "3 files left aside without an extension" in line


def test_leftovers_and_hidden(tmp_path):
    touch(tmp_path, "p/a.jpg", "p/.git/HEAD", "p/s/.DS_Store", "p/._a.jpg")
    touch(tmp_path, "p/@eaDir/a.jpg/SYNO.jpg", "p/s/@eadir/b.jpg", "p/lost+found/c.jpg")
    assert lines(tmp_path / "p", tmp_path) == [
        "--input p: 3 folders of a NAS or a system left aside (@eaDir, @eadir, lost+found); "
        "--include takes what it names, such as p/@eaDir",
        "--input p: 3 hidden paths left aside; --include takes what it names, such as p/._a.jpg",
    ]
    assert lines(tmp_path / "p", tmp_path, include=("lost+found",))[0] == (
        "--include 'lost+found': matched 1 file, such as p/lost+found/c.jpg"
    )
    # Of a glob, hidden files are left out as shells do; the folders of systems are said.
    (line,) = lines(f"{tmp_path}/p/**/*.jpg", tmp_path)
    assert "3 folders of a NAS or a system left aside" in line
    assert lines(f"{tmp_path}/p/@eaDir/**/*.jpg", tmp_path) == []


def test_patterns_are_counted_even_if_nothing_matches(tmp_path):
    touch(tmp_path, "p/a.jpg", "p/tmp/b.jpg", "p/tmp/c.jpg", "p/d_thumb.jpg")
    options = {"exclude": ("tmp", "*_thumb*", "x"), "include": ("*.ppm",)}
    expected = [
        "--exclude '*_thumb*': matched 1 path, such as p/d_thumb.jpg",
        "--exclude 'tmp': matched 1 path, such as p/tmp",
        "--exclude 'x': matched 0 paths",
        "--include '*.ppm': matched 0 files",
    ]
    assert lines(tmp_path / "p", tmp_path, **options) == expected
    # A file that is named is taken; the patterns have nothing to do with it.
    assert lines(tmp_path / "p" / "d_thumb.jpg", tmp_path, exclude=("*_thumb*",)) == [
        "--exclude '*_thumb*': matched 0 paths"
    ]


def test_a_folder_of_parquet_files(tmp_path):
    touch(tmp_path, "a.parquet/part-0.parquet", "a.parquet/_SUCCESS", "b/y=1/part-0.parquet")
    found = lines(tmp_path / "a.parquet", tmp_path)
    assert len(found) == 3
    assert "finds nothing: there is no image and no archive" in "".join(found)
    assert "--input 'a.parquet/*.parquet' reads them" in "".join(found)
    assert "--input 'b/**/*.parquet' reads them" in "".join(lines(tmp_path / "b", tmp_path))
    (folder, nothing) = lines(f"{tmp_path}/*.parquet", tmp_path)
    assert "finds nothing" in nothing
    assert "1 folder left aside whose name matches" in folder
    assert "--input '*.parquet/*.parquet' reads them" in folder


def test_folders_that_a_glob_matches(tmp_path):
    touch(tmp_path, "p/a.jpg", "p/s/b.jpg", "p/.x/c.jpg")
    assert lines(f"{tmp_path}/p/*", tmp_path) == [
        "--input p/*: 1 folder left aside whose name matches, since globs take files; --input with "
        "the folder itself searches it, such as p/s"
    ]
    assert lines(f"{tmp_path}/p/*.jpg", tmp_path) == []
    assert lines(f"{tmp_path}/p/**", tmp_path) == []


@pytest.mark.parametrize(
    ("pattern", "message"),
    [
        ("*.jpg", "no file matches; by extension there are 2 .png, 1 .jpeg, 1 .txt"),
        ("none/*.jpg", "no file matches"),
        ("shoot [1].*", "1 file would match with the brackets taken literally"),
        ("*/shoot [2]/*", "1 file would match with the brackets taken literally"),
    ],
)
def test_a_glob_that_finds_nothing(tmp_path, pattern, message):
    touch(tmp_path, "p/1.jpeg", "p/2.png", "p/shoot [1].png", "p/l.txt", "p/.DS_Store")
    touch(tmp_path, "p/s/shoot [2]/x.png", "p/none/.x")
    (line,) = lines(f"{tmp_path}/p/{pattern}", tmp_path)
    assert f"--input p/{pattern}: finds nothing: " in line
    assert message in line


def test_an_input_inside_the_output(tmp_path):
    touch(tmp_path, "p/in/a.jpg")
    (line,) = lines(tmp_path / "p" / "in", tmp_path, excluding=str(tmp_path / "p"))
    assert "it is in the folder of --output, which is never listed" in line


def test_a_bucket(bucket):
    for name in ("a.jpg", "b.ppm", ".x/c.jpg", "s/@eaDir/d.jpg", "s/@eaDir/e.jpg", "tmp/f.jpg"):
        store_for(bucket).write(f"{bucket}/p/{name}", b"x")
    assert lines(f"{bucket}/p", bucket, exclude=("tmp",)) == [
        "--exclude 'tmp': matched 1 path, such as p/tmp/f.jpg",
        "--input p: 1 file left aside with the extension .ppm; --include '*.ppm' takes them, such "
        "as p/b.ppm",
        "--input p: 1 hidden path left aside; --include takes what it names, such as p/.x/c.jpg",
        "--input p: 2 files in folders of a NAS or a system left aside (@eaDir); --include takes "
        "what it names, such as p/s/@eaDir/d.jpg",
    ]
    (line,) = lines(f"{bucket}/nothing", bucket)
    assert line == "--input nothing: finds nothing: there is no image and no archive"


def test_parts_of_an_input_say_the_same_as_the_whole(tmp_path):
    """Several workers list the ranges of names of a large bucket."""
    source = parse_input(str(tmp_path), exclude=("no",), include=("*.x",))
    names = [
        f"{n}/{'ab'[n % 2]}{each}" for n in range(9) for each in (".md", ".x", ".jpg", "c.csv")
    ]
    paths = [f"{tmp_path}/{name}" for name in [*names, "@eaDir/a.jpg", ".a.jpg", "no/a.jpg", "z"]]
    whole, parts = LeftAside(source), [LeftAside(source) for _ in range(4)]
    for place, path in enumerate(sorted(paths)):
        for aside in (whole, parts[1 + place % 3]):
            aside.add_file(path, source.verdict(path))
    whole.is_empty = parts[2].is_empty = False
    first, *others = parts
    for each in others:
        first.merge(each)
    assert note_lines(first.notes()) == note_lines(whole.notes())
    assert "such as" in note_lines(whole.notes())[0]
    assert next(LeftAside(source).notes()).text.startswith("finds nothing")
