"""What is live in a dataset: its manifest and its run records. No Arrow in here.

``manifest.json`` is written last, and only if nobody else has written it since it was read, so a
run is either committed whole or not at all.
"""

from __future__ import annotations

import dataclasses
import json

import msgspec

from encoder.errors import InputError
from encoder.spec import EncoderSpec
from encoder.storage.base import join
from encoder.storage.registry import store_for
from pipeline.dataset.layout import manifest_path, record_path
from pipeline.errors import JobError
from pipeline.records import EMBEDDINGS, FAILURES, Kind, ListState, Part, RunRecord

FORMAT = "image-embeddings/1"
_OF_A_PART = ("path", "rows", "bytes", "crc32c")


@dataclasses.dataclass(frozen=True)
class EncoderState:
    """What is live of one encoder's rows.

    Attributes:
        spec: of the encoder.
        parts: that hold the rows.
        lists: that runs have read, and what they named.
    """

    spec: EncoderSpec
    parts: tuple[Part, ...] = ()
    lists: tuple[ListState, ...] = ()

    def of_kind(self, kind: Kind) -> list[Part]:
        """The live parts of one kind, EMBEDDINGS or FAILURES."""
        return [part for part in self.parts if part.kind == kind]


@dataclasses.dataclass(frozen=True)
class Manifest:
    """What is live in a dataset.

    Attributes:
        runs: the committed runs, oldest first, each with the token of the launch that did it.
        encoders: what is live of each.
        removed: parts that the last commit took out, and that its clean-up may not have reached.
        upkeep: the command that wrote this state; "" where a run did.
    """

    runs: dict[str, str] = dataclasses.field(default_factory=dict)
    encoders: dict[str, EncoderState] = dataclasses.field(default_factory=dict)
    removed: tuple[str, ...] = ()
    upkeep: str = ""

    def live_files(self) -> set[str]:
        """All that the manifest names in folders of parts and lists, relative to the output."""
        return {
            path
            for state in self.encoders.values()
            for path in (
                *(part.path for part in state.parts),
                *(each.uris_path for each in state.lists),
            )
        }

    def committing(
        self, run_id: str, token: str, state: EncoderState, removed: set[str]
    ) -> Manifest:
        """The manifest after one more run."""
        return Manifest(
            {**self.runs, run_id: token},
            {**self.encoders, state.spec.id: state},
            tuple(sorted(removed)),
        )

    def to_json(self) -> str:
        """The text of ``manifest.json``."""
        encoders = {
            name: {
                "spec": json.loads(state.spec.to_json()),
                **{
                    kind: [
                        {name: getattr(part, name) or "" for name in _OF_A_PART}
                        for part in sorted(state.of_kind(kind), key=_path)
                    ]
                    for kind in (EMBEDDINGS, FAILURES)
                },
                "lists": {each.list_uri: each.uris_path for each in state.lists},
            }
            for name, state in sorted(self.encoders.items())
        }
        values = {"runs": self.runs, "encoders": encoders, "removed": self.removed}
        return json.dumps({"format": FORMAT, **values, "upkeep": self.upkeep}, indent=1)

    @classmethod
    def from_json(cls, text: bytes, path: str) -> Manifest:
        """Parse a manifest.

        Raises:
            JobError: the file is damaged; it is named.
        """
        try:
            values = json.loads(text)
            if values["format"] != FORMAT:
                raise ValueError(f"format {values['format']!r}, expected {FORMAT!r}")
            encoders = {
                name: EncoderState(
                    EncoderSpec.from_json(json.dumps(state["spec"])),
                    tuple(
                        _part(kind, **entry)
                        for kind in (EMBEDDINGS, FAILURES)
                        for entry in state[kind]
                    ),
                    tuple(ListState(*each) for each in state.get("lists", {}).items()),
                )
                for name, state in values["encoders"].items()
            }
            upkeep = values.get("upkeep", "")
            return cls(dict(values["runs"]), encoders, tuple(values["removed"]), upkeep)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise JobError(
                f"{path} is damaged ({error}); restore it from a backup, or have it rebuilt with "
                "'python -m pipeline verify OUTPUT --repair'"
            ) from error


def read_manifest(output: str) -> tuple[Manifest, str | None]:
    """The manifest and its version; an empty one and None where there is none yet."""
    path = manifest_path(output)
    store = store_for(path)
    if store.stat(path) is None:
        return Manifest(), None
    data, info = store.read(path)
    return Manifest.from_json(data, path), info.version


def existing_manifest(output: str) -> tuple[Manifest, str]:
    """Like read_manifest.

    Raises:
        InputError: there is none.
    """
    manifest, version = read_manifest(output)
    if version is None:
        raise InputError(
            f"{output!r} is not a dataset: it has no manifest.json. Where there was one, "
            "'python -m pipeline verify OUTPUT --repair' makes it again"
        )
    return manifest, version


def write_manifest(output: str, manifest: Manifest, expected: str | None) -> None:
    """Replace the manifest, if it is still in the expected version.

    Raises:
        ChangedError: another run has committed.
    """
    path = manifest_path(output)
    store_for(path).write_if(path, manifest.to_json().encode(), expected)


def unreadable(part: str, error: Exception) -> JobError:
    """What to say of a live part that can't be read."""
    return JobError(
        f"{part} in the output can't be read ({error}). If another run has just ended, start this "
        "one again. Restore it from a backup, or let 'python -m pipeline verify OUTPUT --repair' "
        "take it out"
    )


def removed_meanwhile(path: str) -> JobError:
    """What to say of a file of the output that another run has removed while this one worked."""
    return JobError(
        f"{path} in the output is gone: another run has committed to it while this one worked, so "
        "this one was not committed. No work is lost: start it again, and it takes over the "
        "finished parts"
    )


def read_record(output: str, run_id: str) -> RunRecord:
    """The record of a committed run.

    Raises:
        FileNotFoundError: there is none.
        ValueError: it is damaged, or a value has another type.
    """
    path = record_path(output, run_id)
    values = json.loads(store_for(path).read(path)[0])
    try:
        return msgspec.convert(values, RunRecord)
    except msgspec.ValidationError as error:
        raise ValueError(str(error)) from error


def stray_records(output: str, manifest: Manifest) -> list[str]:
    """Full paths of the run records that the manifest does not name."""
    folder = join(output, "runs")
    known = {record_path(output, run) for run in manifest.runs}
    return [info.path for info in store_for(folder).list_files(folder) if info.path not in known]


def _part(kind: Kind, path: str, rows: int, bytes: int, crc32c: str = "") -> Part:
    return Part(kind, str(path), int(rows), int(bytes), crc32c=str(crc32c) or None)


def _path(part: Part) -> str:
    return part.path
