"""Random histories of an output that several inputs share: folders, a glob, an archive and lists.

The inputs overlap, runs are refused or killed, types of columns drift, and another encoder has rows
in the same output. After every run that commits, the rows are those that the rules give, and every
committed value is what it was. HISTORIES in the environment is the number of histories.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import hashlib
import os
import pathlib
import shutil
import tempfile
from typing import Any

import pyarrow as pa
import pyarrow.dataset as ds
import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule

import encoder
from encoder.spec import read_spec
from pipeline.dataset.changes import ADDED, changes_since
from tests.jobs.kill import harness, points
from tests.jobs.kill.test_histories import Killer, SimulatedKill, play, quiet
from tests.jobs.kill.world import BAD, load
from tests.support.packed import picture, tar

FOLDERS = ("p", "q")
LISTS = ("a.csv", "b.csv")
INPUTS = ("p", "q", "p/*.png", "a.csv", "b.csv", "t.tar")
PLACES = st.tuples(st.sampled_from(FOLDERS), st.integers(0, 3))
CONTENTS = st.integers(0, 5)
TEXTS = ("A12", "0123", "", "1.10", "x")
NUMBERS = ("1", "7", "9007199254740993", "", "07", "5.0")

Values = tuple[str | None, str | None]


@dataclasses.dataclass
class State:
    """What the rules expect of one encoder."""

    rows: dict[str, tuple[str, str]] = dataclasses.field(default_factory=dict)
    failures: dict[str, str] = dataclasses.field(default_factory=dict)  # uri -> version
    values: dict[str, Values] = dataclasses.field(default_factory=dict)
    named: dict[str, set[str]] = dataclasses.field(default_factory=dict)  # list -> uris
    inputs: set[str] = dataclasses.field(default_factory=set)

    def copy(self) -> State:
        """A copy that may be changed."""
        named = {name: set(uris) for name, uris in self.named.items()}
        return State(
            dict(self.rows), dict(self.failures), dict(self.values), named, set(self.inputs)
        )


class RefusedError(Exception):
    """The rules refuse a run."""


class Shared(RuleBasedStateMachine):
    """A world of files and lists, runs over parts of it, and the state that is expected."""

    def __init__(self, bundles: list[pathlib.Path]) -> None:
        super().__init__()
        self.base = pathlib.Path(tempfile.mkdtemp(prefix="shared-"))
        self.output = self.base / "out"
        self.bundles = bundles
        self.bundle = bundles[0]
        self.states = {read_spec(bundle).id: State() for bundle in bundles}
        self.lists: dict[str, list[tuple[str, str, str]]] = {
            name: [("p/0.png", "x", "1")] for name in LISTS
        }
        self.packed: dict[str, bytes] = {"m0.png": picture(9)}
        self.clock = 10**18
        for folder in FOLDERS:
            (self.base / folder).mkdir()
            self.write(self.base / folder / "0.png", picture(FOLDERS.index(folder)))
        self.save()

    def teardown(self) -> None:
        shutil.rmtree(self.base)

    # The world.

    def write(self, path: pathlib.Path, data: bytes) -> None:
        path.write_bytes(data)
        self.clock += 1000
        os.utime(path, ns=(self.clock, self.clock))

    def save(self) -> None:
        for name, rows in self.lists.items():
            lines = "".join(",".join(row) + "\n" for row in rows)
            self.write(self.base / name, f"uri,label,n\n{lines}".encode())
        tar(self.base / "t.tar", self.packed.items())
        self.clock += 1000
        os.utime(self.base / "t.tar", ns=(self.clock, self.clock))

    @rule(place=PLACES, content=CONTENTS)
    def put(self, place: tuple[str, int], content: int) -> None:
        self.write(self.base / place[0] / f"{place[1]}.png", picture(content))

    @rule(place=PLACES)
    def break_it(self, place: tuple[str, int]) -> None:
        self.write(self.base / place[0] / f"{place[1]}.png", BAD)

    @rule(place=PLACES)
    def remove(self, place: tuple[str, int]) -> None:
        (self.base / place[0] / f"{place[1]}.png").unlink(missing_ok=True)

    @rule(old=PLACES, new=PLACES)
    def move(self, old: tuple[str, int], new: tuple[str, int]) -> None:
        source = self.base / old[0] / f"{old[1]}.png"
        if source.exists():
            source.rename(self.base / new[0] / f"{new[1]}.png")

    @rule(
        name=st.sampled_from(LISTS),
        place=PLACES,
        label=st.sampled_from(TEXTS),
        number=st.sampled_from(NUMBERS),
    )
    def name(self, name: str, place: tuple[str, int], label: str, number: str) -> None:
        self.lists[name].append((f"{place[0]}/{place[1]}.png", label, number))
        self.save()

    @rule(name=st.sampled_from(LISTS), at=st.integers(0, 3))
    def drop(self, name: str, at: int) -> None:
        rows = self.lists[name]
        if len(rows) > 1:
            del rows[at % len(rows)]
            self.save()

    @rule(at=st.integers(0, 3))
    def hand_over(self, at: int) -> None:
        one, other = (self.lists[name] for name in LISTS)
        if len(one) > 1:
            other.append(one.pop(at % len(one)))
            self.save()

    @rule(member=st.integers(0, 2), content=st.one_of(st.none(), CONTENTS))
    def pack(self, member: int, content: int | None) -> None:
        name = f"m{member}.png"
        if content is None and len(self.packed) > 1:
            self.packed.pop(name, None)
        elif content is not None:
            self.packed[name] = picture(content)
        self.save()

    # The rules.

    def images_of(self, text: str) -> list[tuple[str, Values | None]]:
        """What an input names now, in its order, with the values of a list."""
        if text in LISTS:
            return [(str(self.base / path), (label, n)) for path, label, n in self.lists[text]]
        if text == "t.tar":
            return [(f"{self.base}/t.tar#{name}", None) for name in self.packed]
        folder = text.removesuffix("/*.png")
        return [(str(path), None) for path in sorted((self.base / folder).glob("*.png"))]

    def covers(self, text: str, uri: str) -> bool:
        """Whether an input covers a uri by its place."""
        if text == "t.tar":
            return uri.startswith(f"{self.base}/t.tar#")
        return uri.startswith(f"{self.base}/{text.removesuffix('/*.png')}/")

    def found(self, uri: str) -> tuple[str, bytes] | None:
        """The version and content of an image; None if it is not there."""
        path = pathlib.Path(uri.partition("#")[0])
        if not path.exists():
            return None
        state = path.stat()
        data = self.packed[uri.partition("#")[2]] if "#" in uri else path.read_bytes()
        return f"{state.st_mtime_ns}-{state.st_size}", data

    def type_of_n(self) -> pa.DataType | None:
        """The type of the column n in the output; None if no embedding has it."""
        own = read_spec(self.bundle).id
        folders = sorted((self.output / "embeddings").glob("encoder=*"))
        for folder in sorted(folders, key=lambda each: each.name != f"encoder={own}"):
            schema = ds.dataset(folder).schema
            if "n" in schema.names:
                return schema.field("n").type
        return None

    def expected(self, inputs: list[str], accept: bool) -> State:
        """The state after a run. Raises RefusedError if the rules refuse it."""
        own = {text: self.images_of(text) for text in inputs}
        texts = [n for text in inputs if text in LISTS for _, (_, n) in own[text]]
        whole = [str(int(n)) == n if n.isdigit() else not n for n in texts]
        kind = self.type_of_n()
        if texts and kind == pa.int64() and not all(whole):
            raise RefusedError("a number does not fit")
        numbers = kind == pa.int64() or (kind is None and all(whole) and any(texts))
        before = self.states[read_spec(self.bundle).id]
        after = before.copy()
        listed: dict[str, Values | None] = {}
        for text in inputs:
            for uri, values in own[text]:
                if listed.get(uri) is None:
                    listed[uri] = values
        self._add(after, before, listed, numbers)
        gone = self._gone(before, inputs, own, listed)
        known = {*before.rows, *(uri for uri, version in before.failures.items() if version)}
        for uri, covering in gone.items():
            for text in covering:
                if not own[text] and not accept:
                    raise RefusedError("an input lists nothing")
            for table in (after.rows, after.failures, after.values):
                table.pop(uri, None)
        lost = len(gone.keys() & known)
        if not listed and not accept:
            raise RefusedError("no image")
        if lost > (lost + len(listed.keys() & known)) / 2 and not accept:
            raise RefusedError("most are gone")
        again = {uri: before.failures.get(uri) for uri in listed}
        tried = [uri for uri in listed if uri not in after.rows]
        tried = [
            uri for uri in tried if not after.failures[uri] or again[uri] != after.failures[uri]
        ]
        if tried and len(tried) == len(listed):
            raise RefusedError("all failed")
        for text in inputs:
            if text in LISTS:
                after.named[text] = {uri for uri, _ in own[text]}
            else:
                after.inputs.add(text)
        return after

    def _add(
        self, after: State, before: State, listed: dict[str, Values | None], numbers: bool
    ) -> None:
        for uri, values in listed.items():
            there = self.found(uri)
            for table in (after.rows, after.failures):
                table.pop(uri, None)
            kept = after.values.pop(uri, (None, None)) if uri in before.rows else (None, None)
            if there is None or there[1] == BAD:
                after.failures[uri] = there[0] if there else ""
                continue
            after.rows[uri] = (there[0], hashlib.sha256(there[1]).hexdigest())
            if values is not None:
                kept = (values[0], values[1] or None if numbers else values[1])
            after.values[uri] = kept

    def _gone(
        self,
        before: State,
        inputs: list[str],
        own: dict[str, list[tuple[str, Values | None]]],
        listed: dict[str, Values | None],
    ) -> dict[str, list[str]]:
        """The images that lose their rows, and the inputs that would have listed them."""
        gone = {}
        for uri in {*before.rows, *before.failures} - listed.keys():
            by_place = [t for t in inputs if t not in LISTS and self.covers(t, uri)]
            by_list = [t for t in inputs if t in LISTS and uri in before.named.get(t, ())]
            # Failures of missing files are of the lists that name them, not of folders.
            is_image = uri in before.rows or before.failures[uri]
            owners = [t for t in before.inputs - set(inputs) if is_image and self.covers(t, uri)]
            owners += [t for t in before.named.keys() - set(inputs) if uri in before.named[t]]
            if by_place or (by_list and not owners):
                gone[uri] = by_place + by_list
        return gone

    # Runs.

    @rule(which=st.integers(0, 1))
    def choose_encoder(self, which: int) -> None:
        self.bundle = self.bundles[which]

    def words(self, inputs: list[str], accept: bool) -> list[str]:
        options = ["--max-failure-ratio", "1"]
        if any(text in LISTS for text in inputs):
            options += ["--keep", "label,n"]
        if accept:
            options += ["--allow-deletes", "--allow-empty"]
        named = [word for text in inputs for word in ("--input", str(self.base / text))]
        return [
            *("run", *named, "--encoder", str(self.bundle), "--output", str(self.output)),
            *options,
        ]

    @rule(
        inputs=st.lists(st.sampled_from(INPUTS), min_size=1, max_size=3, unique=True),
        accept=st.booleans(),
    )
    def run(self, inputs: list[str], accept: bool) -> None:
        seen = self.seen()
        try:
            after = self.expected(inputs, accept)
        except RefusedError:
            for command in ("run", "plan", "run"):
                words = [command, *self.words(inputs, accept)[1:]]
                assert quiet(words) != 0 or command == "plan", words
                assert self.seen() == seen
            return
        assert quiet(["plan", *self.words(inputs, accept)[1:]]) == 0
        assert quiet(self.words(inputs, accept)) == 0
        self.states[read_spec(self.bundle).id] = after
        self.check()

    @rule(
        inputs=st.lists(st.sampled_from(INPUTS), min_size=1, max_size=3, unique=True),
        nth=st.integers(1, 30),
    )
    def killed_run(self, inputs: list[str], nth: int) -> None:
        try:
            after = self.expected(inputs, True)
        except RefusedError:
            return
        seen, runs = self.seen(), self.runs()
        with pytest.MonkeyPatch.context() as patch:
            points.install(Killer(nth).reached, patch.setattr)
            with contextlib.suppress(SimulatedKill):
                assert quiet(self.words(inputs, True)) == 0
        if self.runs() == runs:  # it had not committed, and readers see nothing of it
            assert self.seen() == seen
            return
        self.states[read_spec(self.bundle).id] = after
        # What is left of a commit that was killed is done by the next one.
        assert quiet(["prune", str(self.output), "--uri-prefix", str(self.base / "none")]) == 0
        assert quiet(["compact", str(self.output)]) == 0
        assert quiet(self.words(inputs, True)) == 0
        self.states[read_spec(self.bundle).id] = self.expected(inputs, True)
        self.check()

    @rule(folder=st.sampled_from(FOLDERS))
    def prune(self, folder: str) -> None:
        if not self.runs():
            return
        words = ["prune", str(self.output), "--uri-prefix", str(self.base / folder)]
        assert quiet(words) == 0
        for state in self.states.values():
            for table in (state.rows, state.failures, state.values):
                for uri in [uri for uri in table if uri.startswith(f"{self.base}/{folder}/")]:
                    del table[uri]
            state.inputs -= {folder, f"{folder}/*.png"}
        self.check()

    def runs(self) -> list[str]:
        return list(harness.Dataset(self.output).manifest()["runs"]) if self.output_is() else []

    def output_is(self) -> bool:
        return (self.output / "manifest.json").exists()

    def glob(self, kind: str, own: str) -> dict[str, dict[str, Any]]:
        """The rows of one encoder that a reader finds by its folder; each uri once."""
        folder = self.output / kind / f"encoder={own}"
        table = ds.dataset(folder).to_table().to_pylist() if folder.exists() else []
        found = {row["uri"]: row for row in table}
        assert len(found) == len(table)
        return found

    def seen(self) -> dict[tuple[str, str], dict[str, dict[str, Any]]]:
        """All that readers see."""
        kinds = ("embeddings", "failures")
        return {(kind, own): self.glob(kind, own) for kind in kinds for own in self.states}

    def check(self) -> None:
        """Compare all rows and values with the expected ones."""
        for own, state in self.states.items():
            rows = self.glob("embeddings", own)
            assert {u: (row["version"], row["sha256"]) for u, row in rows.items()} == state.rows
            failed = self.glob("failures", own)
            assert {u: row["version"] for u, row in failed.items()} == state.failures
            for uri, row in rows.items():
                number = row.get("n")
                text = None if number is None else str(number)
                assert (row.get("label"), text) == state.values[uri], uri
            if own in harness.Dataset(self.output).manifest()["encoders"]:
                log = changes_since(str(self.output), "", own)
                assert {each.uri: each.change for each in log} == dict.fromkeys(rows, ADDED)
        assert quiet(["verify", str(self.output)]) == 0


@pytest.mark.long
@pytest.mark.slow
def test_random_histories_of_a_shared_output(small_bundle, small_model_file, tmp_path, monkeypatch):
    encoder.extract(small_model_file, tmp_path / "second", layer="pool1")
    monkeypatch.setattr("encoder.bundle.load", lambda path, **_: load(path))  # once for all runs
    play(functools.partial(Shared, [small_bundle, tmp_path / "second"]), 3, 25)
