"""The short form of ``make test-models``: today's Keras and tf-keras, and a few layers of each."""

import numpy as np
import pytest

from tests.zoo.check import check_answer, difference
from tests.zoo.making.layer_table import LEFT_OUT, TABLE
from tests.zoo.packages import REAL
from tests.zoo.run import groups, maker, outcomes
from tests.zoo.table import BEGIN, END, HEADER, PAGE, REAL_HEADER
from tests.zoo.versions import VERSIONS

FEW = ["Conv2D", "BatchNormalization", "DepthwiseConv2D", "LeakyReLU", "Dropout", "Softmax"]


@pytest.mark.slow
@pytest.mark.parametrize("version", ["3-today", pytest.param("2-today", marks=pytest.mark.long)])
def test_files_give_what_their_keras_computes(version):
    with maker(version) as made:
        assert [name for name, why in made.greeting["left_out"].items() if not why] == []
        answer = made.make("layer", FEW)
        answer["files"] = ["model.h5"]  # .keras of Keras 2 would take a process of its own
        found = check_answer(made.folder, "layer", FEW, answer)
        assert [each.status for each in found] == ["ok"] * len(FEW), found
        assert [each.layer for each in found] == [name.lower() for name in FEW]


def test_other_values_are_found():
    values = np.array([[1.0, -2.0]])
    assert difference(values.astype(np.float32), values) == 0
    assert difference((values + 0.1).astype(np.float32), values) == pytest.approx(0.05, rel=1e-3)
    assert difference(np.full((1, 2), np.nan, np.float32), values) == float("inf")
    assert difference(np.zeros((1, 3), np.float32), values) == float("inf")


def test_layers_are_in_the_table_or_left_out_but_not_both():
    assert not set(LEFT_OUT) & set(TABLE)


def test_layers_that_take_the_same_are_made_in_one_network():
    found = groups("layer", ["Conv2D", "LSTM", "ReLU"])
    assert found == [["Conv2D", "ReLU"], ["LSTM"]]
    assert groups("network", ["U-Net", "int8"]) == [["U-Net"], ["int8"]]


def test_a_network_that_cannot_be_used_is_made_again_in_halves():
    """Then one layer that is refused leaves the others their outcomes."""

    class Fake:
        folder = None

        def make(self, kind, names):
            return {"cannot": "no"} if "Bad" in names else {"left_out": "small"}

    found = outcomes(Fake(), "layer", ["A", "B", "Bad", "D"])
    assert [(each.name, each.status) for each in found] == [
        *(("A", "left out"), ("B", "left out"), ("Bad", "not written"), ("D", "left out"))
    ]


def test_the_tables_in_the_docs_are_those_that_the_run_makes():
    text = PAGE.read_text()
    body = text.partition(BEGIN)[2].partition(END)[0]
    assert HEADER in body
    assert REAL_HEADER in body
    rows = body.partition(HEADER)[2].partition("\n\n")[0].strip().splitlines()[1:]
    assert len(rows) == len(VERSIONS)
    for name, row in zip(VERSIONS, rows, strict=True):
        assert row.startswith(f"| {name.partition('-')[0]}"), row
    for real in REAL:
        assert f"| {real.package.replace('==', ' ')} |" in body
