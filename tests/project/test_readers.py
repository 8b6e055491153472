"""Any Parquet reader reads the right rows by glob, without code of this project."""

import pathlib
import shutil

import duckdb
import numpy as np
import pandas as pd
import polars as pl
import pyarrow.dataset as ds
import pytest

from pipeline.__main__ import main


@pytest.fixture(scope="module")
def dataset(photo_folder, vgg16_bundle, tmp_path_factory):
    """Three runs: over all photographs, after a removal and a change, and with nothing to do."""
    base = tmp_path_factory.mktemp("readers")
    photos, output = base / "photos", base / "out"
    photos.mkdir()
    for photo in photo_folder.iterdir():
        (photos / photo.name).write_bytes(photo.read_bytes())
    words = ["run", "--input", photos, "--encoder", vgg16_bundle, "--output", output]
    arguments = [str(word) for word in words]
    assert main(arguments) == 0
    (photos / "brick.png").unlink()
    (photos / "grass.png").write_bytes((photos / "gravel.png").read_bytes())
    assert main(arguments) == 0
    assert main(arguments) == 0
    return next((output / "embeddings").iterdir())


@pytest.fixture(scope="module", params=["as written", "compacted"])
def folder(request, dataset, tmp_path_factory):
    """The encoder's folder, with one part from each run, or with one part merged from them."""
    if request.param == "as written":
        return dataset
    output = tmp_path_factory.mktemp("compacted") / "out"
    shutil.copytree(dataset.parents[1], output)
    assert main(["compact", str(output)]) == 0
    merged = output / "embeddings" / dataset.name
    assert len(list(merged.rglob("*.parquet"))) == 1 < len(list(dataset.rglob("*.parquet")))
    return merged


@pytest.fixture(scope="module")
def expected(dataset):
    """The vectors by name of the photograph, read with pyarrow."""
    table = ds.dataset(dataset).to_table(columns=["uri", "embedding"])
    names = [pathlib.PurePath(uri).name for uri in table["uri"].to_pylist()]
    assert len(names) == len(set(names)) == 21
    assert "brick.png" not in names
    vectors = dict(zip(names, np.array(table["embedding"].to_pylist(), np.float32), strict=True))
    np.testing.assert_allclose(vectors["grass.png"], vectors["gravel.png"], rtol=1e-4)
    return vectors


def check(uris, vectors, expected):
    names = [pathlib.PurePath(uri).name for uri in uris]
    assert sorted(names) == sorted(expected)
    for name, vector in zip(names, vectors, strict=True):
        np.testing.assert_array_equal(np.asarray(vector, np.float32), expected[name])


def test_pyarrow(folder, expected):
    table = ds.dataset(folder).to_table()
    check(table["uri"].to_pylist(), table["embedding"].to_pylist(), expected)


def test_pandas(folder, expected):
    frame = pd.read_parquet(folder)
    check(frame["uri"], frame["embedding"], expected)


def test_polars(folder, expected):
    frame = pl.read_parquet(folder / "**" / "*.parquet")
    assert frame.schema["embedding"] == pl.Array(pl.Float32, 512)
    check(frame["uri"].to_list(), frame["embedding"].to_list(), expected)


def test_duckdb_with_arithmetic_on_vectors(folder, expected):
    with duckdb.connect() as connection:
        rows = connection.execute(
            """
            WITH photos AS (
                SELECT uri, embedding::FLOAT[512] AS vector FROM read_parquet($files)
            )
            SELECT b.uri, b.vector, array_cosine_similarity(a.vector, b.vector) AS cosine
            FROM photos a, photos b WHERE a.uri LIKE '%motorcycle_left.png' ORDER BY cosine DESC
            """,
            {"files": f"{folder}/**/*.parquet"},
        ).fetchall()
    check([row[0] for row in rows], [row[1] for row in rows], expected)
    names = [pathlib.PurePath(row[0]).name for row in rows]
    assert names[:2] == ["motorcycle_left.png", "motorcycle_right.png"]
    assert rows[0][2] == pytest.approx(1, abs=1e-5)
