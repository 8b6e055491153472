"""Every parser of ours on damaged content, the short form; ``make test-fuzz`` is the long one."""

import os

import hypothesis
import pytest
from hypothesis import strategies as st

from tests.fuzz.mutation import damaged
from tests.fuzz.targets import TARGETS

pytestmark = pytest.mark.slow

MOST = int(os.environ.get("FUZZ_EXAMPLES", "60"))  # for each target
SLOW = {"keras file": 5, "h5 file": 5}  # how many times as long one example takes

settings = hypothesis.settings(
    derandomize="FUZZ_EXAMPLES" not in os.environ,
    deadline=None,
    database=None,
    suppress_health_check=list(hypothesis.HealthCheck),
)


@pytest.mark.parametrize("target", TARGETS.values(), ids=lambda target: target.name)
def test_real_content_and_what_damage_makes_of_it(target):
    for seed in target.seeds():
        target.check(seed)

    @hypothesis.settings(settings, max_examples=MOST // SLOW.get(target.name, 1))
    @hypothesis.given(st.one_of(damaged(target), damaged(target), st.binary(max_size=300)))
    def run(data):
        target.check(data)

    run()
