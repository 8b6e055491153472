import io
import itertools
import json
import random

import pyarrow.parquet as pq
import pytest

from encoder.errors import InputError
from pipeline.dataset import changes as changes_module
from pipeline.dataset.changes import (
    ADDED,
    CHANGED,
    HAD,
    HAS,
    REMOVED,
    RENEWED,
    SAME,
    Change,
    _combined,
    changes_since,
    folded,
    json_lines,
    kind_of,
    write_parquet,
)


@pytest.mark.parametrize(
    ("seen", "change"),
    [
        ([HAS], ADDED),
        ([HAD], REMOVED),
        ([HAD, HAS], CHANGED),
        ([HAS, HAD, HAS], CHANGED),
        ([HAD, SAME], None),
        ([HAD, RENEWED, SAME], CHANGED),
        ([HAD, RENEWED, HAS], CHANGED),
        ([HAD, RENEWED], REMOVED),
        ([SAME], ADDED),  # an earlier version, which a dead run had embedded
        ([RENEWED, SAME], ADDED),
        ([RENEWED], None),
        ([], None),
    ],
)
def test_what_a_run_did_to_a_uri(seen, change):
    assert kind_of(seen) == change


def test_folding_is_what_the_runs_amount_to():
    """Compared with the states of a row, run by run: absent, or with some content."""
    effects = {ADDED: (False, True), CHANGED: (True, True), REMOVED: (True, False)}
    for length in (1, 2, 3, 4):
        for history in itertools.product(effects, repeat=length):
            there = effects[history[0]][0]
            start, possible, total = there, True, None
            for change in history:
                before, after = effects[change]
                possible = possible and there == before
                there = after
                total = folded(total, change)
            if not possible:
                continue
            if start and there:
                assert total == CHANGED
            else:
                assert total == {(False, True): ADDED, (True, False): REMOVED}.get((start, there))


def test_formats():
    changes = [Change("/a\n.jpg", ADDED), Change("/b.jpg", REMOVED)]
    lines = list(json_lines(changes))
    assert not any("\n" in line for line in lines)
    assert [json.loads(line) for line in lines] == [
        {"uri": "/a\n.jpg", "change": "added"},
        {"uri": "/b.jpg", "change": "removed"},
    ]
    buffer = io.BytesIO()
    write_parquet(changes, buffer)
    assert pq.read_table(buffer).to_pylist() == [each._asdict() for each in changes]
    write_parquet([], buffer := io.BytesIO())
    assert pq.read_table(buffer).schema.names == ["uri", "change"]


def test_no_dataset(tmp_path):
    with pytest.raises(InputError, match="is not a dataset"):
        list(changes_since(str(tmp_path), ""))


def test_many_logs_are_combined_a_few_at_a_time(monkeypatch):
    """The same as folding them all in memory, with temporary files on two levels."""
    monkeypatch.setattr(changes_module, "_LOGS_AT_ONCE", 3)
    monkeypatch.setattr(changes_module, "_BATCH_ROWS", 2)
    rng = random.Random(1)
    there, total, logs = set(), {}, []
    for _ in range(20):
        log = []
        for uri in sorted(rng.sample([f"/{n}é.jpg" for n in range(12)], 5)):
            change = rng.choice([CHANGED, REMOVED]) if uri in there else ADDED
            (there.discard if change == REMOVED else there.add)(uri)
            total[uri] = folded(total.get(uri), change)
            log.append(Change(uri, change))
        logs.append(log)
    expected = [Change(uri, change) for uri, change in sorted(total.items()) if change]
    assert len(expected) > 3
    assert list(_combined([iter(log) for log in logs])) == expected
    assert list(_combined([])) == []
