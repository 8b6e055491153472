"""The encoder bundle: a folder with ``encoder.keras``, ``encoder.json`` and a compiled form."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from typing import TYPE_CHECKING

from encoder.compute.engines.choice import choose
from encoder.compute.engines.ncnn import form as ncnn_form
from encoder.compute.engines.ncnn.engine import NcnnEngine
from encoder.compute.engines.ncnn.form import FORM_FILES, Form, Refusal
from encoder.compute.keras_setup import import_keras
from encoder.compute.runtime import Encoder
from encoder.errors import InputError
from encoder.spec import MODEL_FILE, EncoderSpec, EngineName, check_seal, read_values
from encoder.storage.base import join
from encoder.storage.registry import normalize as normalize_path
from encoder.storage.registry import store_for

if TYPE_CHECKING:
    import keras

    from encoder.compute.engines.ncnn.compile import Compiled

_LOG = logging.getLogger(__name__)


def load(
    folder: str | os.PathLike[str],
    *,
    trust: bool = False,
    custom_objects: Sequence[str] = (),
    engine: EngineName = "auto",
) -> Encoder:
    """Load an encoder bundle from a local folder or gs://.

    Args:
        folder: the bundle's folder.
        trust: allow Lambda layers and custom classes, whose code then runs.
        custom_objects: names of modules that define custom classes of the bundle.
        engine: "keras", which imports TensorFlow or JAX; "ncnn", which needs neither, for bundles
            with a compiled form; "auto" takes the one that is faster here.

    Raises:
        InputError: the folder is not a bundle, its files do not belong together, its model
            contains code that is not trusted, or the engine can't compute it here.
    """
    spec, compiled = read_bundle(folder)
    path = join(normalize_path(folder), MODEL_FILE)
    if store_for(path).stat(path) is None:
        raise InputError(f"{os.fspath(folder)!r} is not a whole encoder bundle: no {MODEL_FILE}")

    def load_model() -> keras.Model:
        return load_network(path, spec, trust, custom_objects)

    if choose(engine, spec, compiled) == "ncnn" and isinstance(compiled, Form):
        missing = _missing_files(folder)
        if not missing:
            check_seal(folder)
            ncnn = NcnnEngine(*_compiled_files(folder, compiled), spec)
            return Encoder(spec, ncnn, load_model)
        if engine == "ncnn":
            raise InputError(
                f"--engine ncnn: {os.fspath(folder)!r} has no {' and no '.join(missing)}: copy the "
                "bundle with all of its files, or extract the encoder again"
            )
        _LOG.warning("the bundle has no %s: Keras computes, slower", " and no ".join(missing))
    return with_keras(load_model(), spec)


def read_bundle(folder: str | os.PathLike[str]) -> tuple[EncoderSpec, Form | Refusal | None]:
    """What encoder.json says: the spec, and of the compiled form.

    Raises:
        InputError: the folder is no bundle, or its encoder.json is damaged.
    """
    values, what = read_values(folder)
    return EncoderSpec.from_values(values, what), ncnn_form.from_values(values, what)


def with_engine(
    wanted: EngineName, model: keras.Model, spec: EncoderSpec, compiled: Compiled
) -> Encoder:
    """An encoder whose network is loaded, and its compiled form, if it has one, too."""
    if choose(wanted, spec, compiled.form) == "keras":
        return with_keras(model, spec)
    engine = NcnnEngine(compiled.param, compiled.weights, spec)
    return Encoder(spec, engine, lambda: model)


def with_keras(model: keras.Model, spec: EncoderSpec) -> Encoder:
    """An encoder that Keras computes."""
    from encoder.compute.engines.keras.engine import KerasEngine

    return Encoder(spec, KerasEngine(model, spec), lambda: model)


def load_network(
    path: str, spec: EncoderSpec, trust: bool, custom_objects: Sequence[str]
) -> keras.Model:
    """Load the model of a bundle, and check that it is the encoder that its spec says.

    Args:
        path: of encoder.keras.
        spec: the encoder's spec.
        trust, custom_objects: see load.

    Raises:
        InputError: it is another encoder, or it contains code that is not trusted.
    """
    import_keras()
    from encoder.model_files.load import load_model
    from encoder.network.cut import backbone_of
    from encoder.network.fingerprint import encoder_id

    model, _ = load_model(path, trust=trust, custom_objects=custom_objects)
    found = encoder_id(backbone_of(model), spec.vector_settings())
    if found != spec.id:
        raise InputError(
            f"the bundle {os.path.dirname(path)!r} says it is encoder {spec.id}, but its model is "
            f"encoder {found}: the files do not belong together; extract the encoder again"
        )
    return model


def _missing_files(folder: str | os.PathLike[str]) -> list[str]:
    paths = {name: join(normalize_path(folder), name) for name in FORM_FILES}
    return [name for name, path in paths.items() if store_for(path).stat(path) is None]


def _compiled_files(folder: str | os.PathLike[str], compiled: Form) -> tuple[bytes, bytes]:
    paths = [join(normalize_path(folder), name) for name in FORM_FILES]
    param, weights = (store_for(path).read(path)[0] for path in paths)
    compiled.check(param, weights)
    return param, weights
