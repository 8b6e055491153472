"""What comes out of a file, and which refusals are right."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
import pathlib
from typing import Literal

Status = Literal["ok", "refused", "FAULT", "not written", "left out", "not judged"]
KINDS = ("layer", "network", "application")
_RESULTS = pathlib.Path(__file__).parent / "found"
_ROOT = pathlib.Path(__file__).parents[2]
_CODE_FOLDERS = ("encoder", "tests/zoo")


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What came out of one file.

    Attributes:
        kind: "layer", "network" or "application".
        name: what was made.
        file: the kind of file: ".h5", ".keras" or "SavedModel"; "" if nothing was made.
        status: "ok": the vectors are the activations that the file's version of Keras computes;
            "refused": an error that names the layer or its class, which is right; "FAULT": anything
            else; "not judged": the vectors differ, and the network's random weights amplify a
            change of its pixels by one millionth to more than the tolerance; "not written": that
            version of Keras can't make this file; "left out": it is too large.
        layer: the layer that ``auto`` took, or that was named; "" if there are no vectors.
        detail: the difference, or the message.
    """

    kind: str
    name: str
    file: str
    status: Status
    layer: str
    detail: str


@dataclasses.dataclass
class Results:
    """The outcomes of one version so far, in a file of their own, which is kept with the code.

    Attributes:
        path: the file.
        code: a digest of the code that gave the outcomes.
        version: the full number of the version.
        left_out: the classes of layers that the table lacks, and why.
        outcomes: of all files so far.
    """

    path: pathlib.Path
    code: str
    version: str = ""
    left_out: dict[str, str] = dataclasses.field(default_factory=dict)
    outcomes: list[Outcome] = dataclasses.field(default_factory=list)

    @classmethod
    def read(cls, version: str, keep: bool = False) -> Results:
        """What is there of a version.

        Args:
            version: its name, or "real".
            keep: if other code gave the outcomes, keep them, but for networks with faults; else
                there are none.
        """
        path = _RESULTS / f"{version}.json"
        fresh = cls(path, code_digest())
        if not path.exists():
            return fresh
        values = json.loads(path.read_text())
        if values["code"] != fresh.code and not keep:
            return fresh
        outcomes = [Outcome(*each) for each in values["outcomes"]]
        if values["code"] != fresh.code:
            bad = {(each.kind, each.name) for each in outcomes if each.status == "FAULT"}
            outcomes = [each for each in outcomes if (each.kind, each.name) not in bad]
        return cls(path, fresh.code, values["version"], values["left_out"], outcomes)

    def has(self, kind: str, name: str) -> bool:
        """Whether there is an outcome of a network."""
        return any((each.kind, each.name) == (kind, name) for each in self.outcomes)

    def add(self, outcomes: list[Outcome]) -> None:
        """Add the outcomes of one network, and write the file."""
        self.outcomes += outcomes
        self.path.parent.mkdir(parents=True, exist_ok=True)
        values = dataclasses.asdict(self)
        del values["path"]
        # A line for each, so that one can see in a diff what has changed.
        lines = [json.dumps(list(each.values())) for each in values.pop("outcomes")]
        head = json.dumps(values).removesuffix("}")
        self.path.write_text(f'{head}, "outcomes": [\n' + ",\n".join(lines) + "\n]}\n")


@functools.cache
def code_digest() -> str:
    """A digest of the code that outcomes depend on."""
    digest = hashlib.sha256()
    for folder in _CODE_FOLDERS:
        for path in sorted((_ROOT / folder).rglob("*.py")):
            digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


# Refusals that are right, and why. All others are faults.
_CODE = "holds code"
_WORDS = "may read a file of words"
REFUSED = {
    ("layer", "Discretization"): "computes in whole numbers, in files of Keras before 3.12",
    ("layer", "Hashing"): "computes in whole numbers",
    ("layer", "SpectralNormalization"): "tf-keras can't read it from a .keras file",
    ("layer", "IntegerLookup"): _WORDS,
    ("layer", "Lambda"): _CODE,
    ("layer", "RandomFourierFeatures"): "Keras 3 lacks it",
    ("layer", "LayerNormalization: two axes"): "Keras 3 reads its axes wrongly from .h5",
}
