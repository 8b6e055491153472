import random

import pytest

from pipeline.dataset.changes import HAD, RENEWED
from pipeline.inputs.source import Input
from pipeline.records import DECODE, READ, Counts, Image, Known, OldRow
from pipeline.runs.batches import (
    KnownBatch,
    ListedBatch,
    NamedBatch,
    listed_batch,
    partition_of,
    unpack,
)
from pipeline.runs.rules import Decision, decide, decide_share
from pipeline.runs.scope import CarriedColumns, Scope

INPUTS = (Input("photos", "/photos"),)
URI = "/photos/a.jpg"
NOW = Image(URI, "v2", 10)


COLUMNS = CarriedColumns(("label",), ("label",))


def row(part="p1", version="v2", stage=None, committed=True):
    return Known(part, version, None if stage else "sha", stage, committed)


def plan(listed, *known, retry=False, uri=URI):
    decision = decide(uri, listed, known, Scope(INPUTS, retry_failures=retry))
    counts = {name: n for name, n in decision.counts.totals.items() if n}
    return decision.todo, sorted(decision.stale), counts


def waits(listed, *known, uri=URI):
    """The part of which a waiting row is taken, and those whose rows keep waiting."""
    decision = decide(uri, listed, known, Scope(INPUTS))
    return decision.taken, decision.kept


def test_a_new_image_is_embedded():
    todo, stale, counts = plan([NOW])
    assert (todo.image, todo.old, stale) == (NOW, None, [])
    assert counts == {"listed": 1, "new": 1}


def test_an_image_reached_twice_counts_once():
    assert plan([NOW, NOW])[2] == {"listed": 1, "new": 1, "repeated": 1}


def test_an_unchanged_image_is_skipped():
    assert plan([NOW], row()) == (None, [], {"listed": 1, "unchanged": 1})


def test_a_row_of_a_run_that_died_is_taken_over():
    assert plan([NOW], row(committed=False)) == (None, [], {"listed": 1, "resumed": 1})


def test_of_two_rows_one_stays_and_the_committed_one_is_preferred():
    waiting = [row("p1", committed=False), row("p3", committed=False)]
    assert waits([NOW], *waiting, row("p2")) == (None, ())
    assert waits([NOW], *waiting) == ("p1", ())
    assert plan([NOW], row("p1"), row("p2"))[1] == ["p2"]


def test_a_changed_image_is_embedded_again_and_its_old_row_goes():
    todo, stale, counts = plan([NOW], row(version="v1"))
    assert (todo.image, todo.old) == (NOW, OldRow("p1", "sha"))
    assert (stale, counts) == (["p1"], {"listed": 1, "changed": 1})


def test_a_dead_runs_row_for_the_new_version_replaces_the_committed_old_one():
    todo, stale, counts = plan([NOW], row("p1", "v1"), row("p2", "v2", committed=False))
    assert (todo, stale, counts) == (None, ["p1"], {"listed": 1, "resumed": 1})


def test_a_gone_image_loses_its_rows():
    assert plan([], row()) == (None, ["p1"], {"deleted": 1})
    assert plan([], row(stage=DECODE)) == (None, ["p1"], {"deleted": 1})


def test_a_gone_image_that_was_never_committed_is_not_counted():
    assert plan([], row(committed=False)) == (None, [], {})
    assert waits([], row(committed=False)) == (None, ())


def test_rows_that_no_input_speaks_of_stay():
    assert plan([], row(), uri="/other/a.jpg") == (None, [], {})


def test_waiting_rows_that_no_input_speaks_of_wait_on():
    elsewhere = "/other/a.jpg"
    assert waits([], row("p2", "v3", committed=False), uri=elsewhere) == (None, ("p2",))
    assert waits([], row("p1"), row("p2", "v3", committed=False), uri=elsewhere)[1] == ("p2",)
    # A copy of the committed row is of no use.
    assert waits([], row("p1"), row("p2", committed=False), uri=elsewhere) == (None, ())


def test_what_could_not_be_decoded_waits_for_a_new_version():
    assert plan([NOW], row(stage=DECODE)) == (None, [], {"listed": 1, "unchanged": 1})
    todo, stale, counts = plan([NOW], row(stage=DECODE, version="v1"))
    assert todo.image == NOW
    assert (stale, counts) == (["p1"], {"listed": 1, "changed": 1})


def test_retry_failures():
    todo, stale, _ = plan([NOW], row(stage=DECODE), retry=True)
    assert todo.image == NOW
    assert stale == ["p1"]


def test_what_could_not_be_read_is_tried_again():
    todo, stale, counts = plan([NOW], row(stage=READ))
    assert todo.image == NOW
    assert (stale, counts) == (["p1"], {"listed": 1, "new": 1})


def test_a_listing_error_is_a_failure_whatever_was_known():
    broken = NOW._replace(version="", error="broken link")
    todo, stale, _ = plan([broken], row(version=""))
    assert todo.image == broken
    assert stale == ["p1"]


def test_deletions_are_counted_by_the_input_they_rest_on():
    decision = decide(URI, [], [row()], Scope((*INPUTS, Input("other", "/other"))))
    assert decision.counts.gone_from == {"photos": 1}


def test_a_partition_is_decided_as_its_uris_are():
    """Compared with decide() for every combination of rows that a partition can have."""
    rng = random.Random(7)
    listed, known, named = [], {}, {}
    for n in range(3000):
        uri = f"/{rng.choice(['photos', 'other'])}/{n}{rng.choice(['.jpg', '.tar#x.jpg'])}"
        for source in rng.sample(["photos", "list"], rng.randrange(3)):
            error = rng.choice([None, None, None, "broken"])
            carried = rng.choice([None, None, (1,)])
            listed.append(Image(uri, rng.choice("ab"), 1, error, source=source, carried=carried))
        rows = [
            Known(
                f"p{k}",
                rng.choice("ab"),
                None,
                rng.choice([None, None, None, DECODE, READ]),
                rng.choice([True, True, False]),
                rng.choice([None, (1,), (2,)]),
            )
            for k in range(rng.choice([0, 1, 1, 1, 2]))
        ]
        if rows:
            known[uri] = rows
        if rng.random() < 0.1:
            named[uri] = ["/list.txt"]
    scope = Scope((*INPUTS, Input("list", "/list.txt", is_file=True)), columns=COLUMNS)
    batches = [
        unpack(
            listed_batch(source, [each for each in listed if each.source == source]), ListedBatch
        )
        for source in ("photos", "list")
    ]
    tuples = [(uri, *row) for uri, rows in known.items() for row in rows]
    counts, found = Counts(), {}
    for uri, decision in decide_share(
        [
            *batches,
            KnownBatch(tuples[:100]),
            NamedBatch("/list.txt", list(named)),
            KnownBatch(tuples[100:]),
        ],
        scope,
    ):
        counts.add(decision.counts)
        if uri:
            found[uri] = decision._replace(counts=None)
    expected = Counts()
    for uri in {*known, *(each.uri for each in listed)}:
        mine = [each for each in listed if each.uri == uri]
        mine.sort(key=lambda each: each.source, reverse=True)
        decision = decide(uri, mine, known.get(uri, ()), scope, named.get(uri, ()))
        expected.add(decision.counts)
        assert found.get(uri, Decision(None, [], None)) == decision._replace(counts=None)
    assert counts == expected
    assert counts.totals["unchanged"] > 100
    assert counts.totals["deleted"] > 100


@pytest.mark.parametrize(
    ("before", "listed", "seen"),
    [
        ((1,), (2,), (HAD, RENEWED)),
        (None, (1,), (HAD, RENEWED)),
        ((1,), (1,), (HAD,)),
        ((1,), None, (HAD,)),
        (None, None, (HAD,)),
    ],
)
def test_a_new_version_with_other_values_is_said_to_be_renewed(before, listed, seen):
    old = row(version="v1")._replace(carried=before)
    decision = decide(URI, [NOW._replace(carried=listed)], [old], Scope(INPUTS, columns=COLUMNS))
    assert decision.seen == seen
    assert decision.todo.image.carried == (before if listed is None else listed)


def test_partitions_do_not_depend_on_the_process():
    assert [partition_of(uri) for uri in ("/a.jpg", "gs://b/c.jpg")] == [11, 39]


@pytest.mark.parametrize("committed", [True, False])
def test_without_carried_columns_no_row_is_written_again(committed):
    """The part of a run that died becomes live as it is."""
    waiting = row(version=NOW.version, committed=committed)._replace(carried=None)
    decision = decide(URI, [NOW], [waiting], Scope(INPUTS))
    assert decision.renewed is None
    assert decision.taken == (None if committed else waiting.part)
