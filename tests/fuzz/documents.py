"""Targets: encoder.json, manifest.json and the records of runs."""

import contextlib
import pathlib

from encoder.errors import InputError
from encoder.spec import EncoderSpec
from pipeline.dataset.manifest import Manifest, read_record
from pipeline.errors import JobError
from tests.fuzz.target import Target, file_with

OLDER = pathlib.Path(__file__).parents[1] / "data" / "written_by_1a4d3f3"
WORDS = (
    *(b"null", b"true", b"[]", b"{}", b'""', b"-1", b"1e999", b"NaN", b"9" * 30, b"9" * 5000),
    *(b'"../x"', b'"/x"', b'"a\\u0000b"', b'"\\ud800"', b"[" * 3000, b'{"a":' * 3000),
    *(b'"id": "../../../../x"', b'"format": 1', b',"removed":["/etc/passwd"]'),
)


def check_spec(data):
    with contextlib.suppress(InputError):
        spec = EncoderSpec.from_json(data)
        assert EncoderSpec.from_json(spec.to_json()) == spec
        assert set(spec.id) <= set("0123456789abcdef")
        assert isinstance(spec.dim, int)
        assert isinstance(spec.source, str)


def check_manifest(data):
    with contextlib.suppress(JobError):
        manifest = Manifest.from_json(data, "manifest.json")
        again = Manifest.from_json(manifest.to_json().encode(), "manifest.json")
        # Waiting parts are written with their final paths.
        assert again.runs == manifest.runs
        assert again.encoders.keys() == manifest.encoders.keys()
        assert again.to_json() == Manifest.from_json(again.to_json().encode(), "x").to_json()


def check_record(data):
    with file_with(data, "output/runs/first.json") as path, contextlib.suppress(ValueError):
        record = read_record(str(path.parents[1]), "first")
        assert isinstance(record["listed"], int)
        assert isinstance(record["inputs"], list)


def older(*patterns):
    return [path.read_bytes() for pattern in patterns for path in sorted(OLDER.glob(pattern))]


TARGETS = (
    Target("spec", check_spec, lambda: older("*/encoder.json"), WORDS),
    Target("manifest", check_manifest, lambda: older("dataset/manifest.json"), WORDS),
    Target("record", check_record, lambda: older("dataset/runs/*.json"), WORDS),
)
