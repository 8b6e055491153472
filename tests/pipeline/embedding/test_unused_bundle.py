"""The check of an encoder that no image needed; whole runs: tests/jobs/test_unused_encoder.py."""

import json
import shutil

import pytest

from encoder.spec import SEAL, read_spec
from pipeline.embedding.unused_bundle import check_unused
from pipeline.errors import JobError


@pytest.mark.parametrize("sealed", [True, False])
def test_a_bundle_is_the_one_that_the_job_began_with(small_bundle, tmp_path, sealed):
    bundle = shutil.copytree(small_bundle, tmp_path / "bundle")
    if not sealed:
        values = json.loads((bundle / "encoder.json").read_text())
        del values[SEAL]
        (bundle / "encoder.json").write_text(json.dumps(values))
    check_unused(str(bundle), read_spec(bundle).id, trust=False)
    with pytest.raises(JobError, match="somebody has replaced it"):
        check_unused(str(bundle), "0123456789abcdef", trust=False)
    (bundle / "encoder.keras").write_bytes(b"PK")
    with pytest.raises(JobError, match=r"^--encoder: "):
        check_unused(str(bundle), read_spec(bundle).id, trust=False)
    shutil.rmtree(bundle)
    with pytest.raises(JobError, match="is not an encoder bundle"):
        check_unused(str(bundle), "0123456789abcdef", trust=False)
