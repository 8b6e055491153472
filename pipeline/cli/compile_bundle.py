"""Give a bundle of an earlier version its compiled form, once, before a run."""

from __future__ import annotations

from encoder.compute.engines.choice import ncnn_works
from encoder.compute.keras_setup import import_keras
from encoder.compute.machine import visible_gpus
from encoder.errors import InputError
from encoder.terminal import say
from pipeline.runs.job import Job


def compile_once(job: Job, has_gpus: bool) -> None:
    """Compile the bundle of a job, if nobody has tried it and its workers could use the form.

    A bundle that can't be written to, or whose files do not belong together, is left as it is.

    Args:
        job: the job.
        has_gpus: whether its workers have GPUs, where Keras computes.
    """
    options = job.options
    if has_gpus or visible_gpus() or options.engine == "keras" or not ncnn_works():
        return
    from encoder.bundle import read_bundle

    spec, found = read_bundle(job.bundle)
    if found is not None or spec.precision not in ("float32", "tf32"):
        return
    say("the bundle is of an earlier version: it gets its compiled form, once", at_once=True)
    import_keras()
    from encoder.extraction import add_compiled_form

    try:
        add_compiled_form(
            job.bundle, trust=options.trust, custom_objects=options.custom_objects, say=say
        )
    except InputError as error:
        if options.engine == "ncnn":
            raise
        say(f"it is left as it is, and Keras computes: {error}")
