"""Check the encoder of a run in which no image needed it."""

from __future__ import annotations

from collections.abc import Sequence

from encoder.bundle import load
from encoder.errors import InputError
from encoder.spec import check_seal, read_spec
from pipeline.errors import JobError


def check_unused(
    bundle: str, encoder_id: str, trust: bool, custom_objects: Sequence[str] = ()
) -> None:
    """Check that a bundle is whole and is the encoder that the job began with.

    A bundle of an early version has no seal. Only loading it, which takes seconds, shows what it
    is.

    Args:
        bundle: path of the bundle.
        encoder_id: the id of the bundle that the job was planned for.
        trust: allow a bundle with Lambda layers or custom classes.
        custom_objects: names of modules that define custom classes of the bundle.

    Raises:
        JobError: it is damaged, or another encoder.
    """
    try:
        found = read_spec(bundle).id
        if not check_seal(bundle):
            loaded = load(bundle, trust=trust, custom_objects=custom_objects, engine="keras")
            found = loaded.spec.id
    except (InputError, OSError) as error:
        raise JobError(f"--encoder: {error}") from error
    if found != encoder_id:
        raise JobError(
            f"--encoder: the bundle {bundle} was encoder {encoder_id} when the job began and is "
            f"{found} now: somebody has replaced it; start the run again"
        )
