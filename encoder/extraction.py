"""Cut the encoder out of a trained network, and write it as a bundle."""

from __future__ import annotations

import operator
import os
import pathlib
import tempfile
from collections.abc import Callable, Mapping, Sequence

import keras
import numpy as np
from numpy.typing import NDArray

from encoder.bundle import load_network, read_bundle, with_engine
from encoder.compute.engines.keras.registry import backend
from encoder.compute.engines.ncnn.compile import Compiled, compile_form
from encoder.compute.engines.ncnn.engine import version
from encoder.compute.engines.ncnn.form import (
    BIN_FILE,
    FORM_FILES,
    PARAM_FILE,
    Form,
    Refusal,
    to_values,
)
from encoder.compute.runtime import Encoder
from encoder.errors import InputError
from encoder.model_files.load import ignore, load_model
from encoder.network.backbones import recognize
from encoder.network.cut import Cut, Recipe, check_cut, cut_encoder
from encoder.network.fingerprint import encoder_id
from encoder.network.graph import what_is_left_out
from encoder.network.pool_numpy import GEM_P
from encoder.network.pooling import pooled_length
from encoder.network.preprocess import preprocess as preprocess_pixels
from encoder.network.taps import Selector, short_vectors
from encoder.spec import (
    MODEL_FILE,
    SPEC_FILE,
    Decode,
    EncoderSpec,
    Fit,
    Pooling,
    Precision,
    PreprocessMode,
    Resize,
    check_seal,
    read_spec,
    seal,
)
from encoder.storage.base import join
from encoder.storage.registry import normalize as normalize_path
from encoder.storage.registry import store_for

_RANDOM_IMAGES = 2


def extract(
    model: keras.Model | str | os.PathLike[str],
    output: str | os.PathLike[str],
    *,
    layer: Selector = "auto",
    pooling: Pooling = "gap",
    normalize: bool = False,
    gem_p: float = GEM_P,
    preprocess: PreprocessMode | None = None,
    resize: Resize = "bilinear",
    fit: Fit = "stretch",
    decode: Decode = "exact",
    background: tuple[int, int, int] = (0, 0, 0),
    precision: Precision = "float32",
    input_size: tuple[int, int] | None = None,
    input_name: str | None = None,
    trust: bool = False,
    custom_objects: Sequence[str] = (),
    builder: str | None = None,
    force: bool = False,
    say: Callable[[str], None] = ignore,
) -> Encoder:
    """Cut the encoder out of a trained network and write it as a bundle.

    Args:
        model: a keras.Model, or the path of a model file (local or gs://, see load_model in
            encoder.model_files.load).
        output: folder for the bundle, local or gs://. Other files there stay.
        layer, pooling, normalize, gem_p, input_size, input_name: see encoder.get_encoder.
        preprocess: how pixels (0..255) were preprocessed in training: "caffe" (VGG16 and ResNet50
            of keras.applications), "tf", "torch", "unit" (divided by 255) or "none". None selects
            the mode of the keras.applications backbone that the network contains, else "none".
        resize, fit: how to bring images of another size to the input size.
        decode: "exact", or "fast": large JPEGs are decoded at a fraction of their size, which is
            faster and changes vectors a little.
        background: RGB colour (0-255) under transparent pixels and around padded images.
        precision: dtype that the layers compute in; "tf32" is float32, but GPUs may multiply as
            TF32.
        trust, custom_objects, builder: see load_model in encoder.model_files.load. Layers that need
            other code are left out, with all layers behind them.
        force: replace the bundle of another encoder at the output. A bundle of the same encoder
            is written again without it.
        say: called with one sentence on each layer, on the preprocessing that was chosen, and on
            what to look at: an embedding that is very short, a bundle that is replaced.

    Returns:
        The encoder, loaded from the new bundle.

    Raises:
        InputError: the model can't be used, an option does not fit it, the output holds the
            bundle of another encoder, or the bundle can't be written.
        CutMismatchError: the encoder does not compute what the network computes.
    """
    if isinstance(model, str | os.PathLike):
        network, source_sha256 = load_model(
            model, trust=trust, builder=builder, custom_objects=custom_objects, hide=True, say=say
        )
        source = os.fspath(model)
    else:
        network, source, source_sha256 = model, f"in memory: {model.name}", ""
    cut = cut_encoder(network, Recipe(layer, pooling, normalize, gem_p, input_size, input_name))
    for tap in cut.taps:
        say(f"layer: {tap.reason}")
    if cut.graph.left_out:
        say(f"loaded without {what_is_left_out(cut.graph.left_out)}: no tap needs more")
    if short := short_vectors(cut.taps, int(cut.model.output_shape[-1])):
        say(f"warning: {short}")
    if preprocess is None:
        found = recognize(cut.graph)
        say(f"preprocess {found.mode}: {found.reason}")
        preprocess = found.mode
    height, width, channels = cut.backbone.input_shape[1:]
    if height is None or width is None:
        raise InputError(
            f"the network takes images of any size ({cut.backbone.input_shape}); say which size "
            "to embed at with --input-size HxW (input_size=(height, width))"
        )
    spec = EncoderSpec(
        id="",
        source=source,
        source_sha256=source_sha256,
        layers=tuple(tap.step.name for tap in cut.taps),
        slices=_slices(cut),
        pooling=pooling,
        gem_p=float(gem_p) if pooling == "gem" else None,
        normalize=bool(normalize),
        dim=int(cut.model.output_shape[-1]),
        height=height,
        width=width,
        channels=channels,
        preprocess=preprocess,
        resize=resize,
        fit=fit,
        decode=decode,
        background=_rgb(background),
        precision=precision,
        max_difference=0.0,
        versions={"keras": keras.__version__, backend().package: backend().version},
    )
    spec = spec.replace(id=encoder_id(cut.backbone, spec.vector_settings()))
    if note := _replaced(output, spec.id, force):
        say(note)
    spec = spec.replace(max_difference=check_cut(cut, _test_images(spec)))
    return _write(cut.model, spec, output, trust, custom_objects, say)


def add_compiled_form(
    folder: str | os.PathLike[str],
    *,
    trust: bool = False,
    custom_objects: Sequence[str] = (),
    say: Callable[[str], None] = ignore,
) -> bool:
    """Compile a bundle that was written before there were compiled forms, and prove the form.

    The vectors' settings and the id stay; ``encoder.json`` then says what came of it, so that
    nobody tries again. A bundle that has a form, or a reason why not, by this version of ncnn is
    left as it is.

    Args:
        folder: the bundle's folder, local or gs://.
        trust, custom_objects: see encoder.load.
        say: called with a sentence on what came of it.

    Returns:
        Whether the bundle has a compiled form now.

    Raises:
        InputError: the folder is no bundle, or can't be written to.
    """
    spec, found = read_bundle(folder)
    base = normalize_path(folder)
    path = join(base, MODEL_FILE)
    if found is None or found.version != version():
        check_seal(folder)
        model = load_network(path, spec, trust, custom_objects)
        compiled = compile_form(model, spec)
        _write_files(base, folder, _files(compiled, spec, path))
        found = compiled.form
    say(f"engine: {_engine_of(found)}")
    return isinstance(found, Form)


def _rgb(background: Sequence[int]) -> tuple[int, int, int]:
    """The background as plain numbers, which encoder.json can hold and the id is made of."""
    try:
        red, green, blue = (operator.index(value) for value in background)
    except (TypeError, ValueError):
        red = green = blue = -1
    if not all(0 <= value <= 255 for value in (red, green, blue)):
        raise InputError(f"background is {background!r}; expected three whole numbers, 0 to 255")
    return red, green, blue


def _replaced(output: str | os.PathLike[str], encoder_id: str, force: bool) -> str:
    """What to say about the bundle that is at the output now; "" if there is none.

    Raises:
        InputError: it is another encoder's, or damaged, and force is not set.
    """
    base = normalize_path(output)
    there = [
        name
        for name in (SPEC_FILE, MODEL_FILE)
        if store_for(base).stat(join(base, name)) is not None
    ]
    if not there:
        return ""
    try:
        old = read_spec(output)
    except InputError as error:
        found = f"{' and '.join(there)}, no whole bundle ({error})"
    else:
        if old.id == encoder_id:
            return f"{os.fspath(output)!r} held this encoder already; its bundle is written again"
        layers = ", ".join(old.layers)
        found = f"the bundle of encoder {old.id}, made from {old.source!r} at {layers}"
    if not force:
        raise InputError(
            f"--output {os.fspath(output)!r} holds {found}; the new one is encoder {encoder_id}. "
            "Name another folder, or replace it with --force (force=True)"
        )
    return f"replaced in {os.fspath(output)!r}: {found}"


def _write(
    model: keras.Model,
    spec: EncoderSpec,
    output: str | os.PathLike[str],
    trust: bool,
    custom_objects: Sequence[str],
    say: Callable[[str], None],
) -> Encoder:
    """Write the bundle; replace an older one only after the new one was loaded as a check."""
    base = normalize_path(output)
    if base == os.path.dirname(normalize_path(spec.source)) and spec.source.endswith(MODEL_FILE):
        raise InputError(
            f"--output {os.fspath(output)!r} would replace the trained model {spec.source!r} by "
            "its encoder; name another folder"
        )
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, MODEL_FILE)
        model.save(path)
        loaded = load_network(path, spec, trust, custom_objects)
        compiled = compile_form(loaded, spec)
        say(f"engine: {_engine_of(compiled.form)}")
        files = {MODEL_FILE: pathlib.Path(path).read_bytes(), **_files(compiled, spec, path)}
    encoder = with_engine("auto", loaded, spec, compiled)
    _write_files(base, output, files)
    for name in set(FORM_FILES) - set(files):  # of another encoder, or of another ncnn
        path = join(base, name)
        if store_for(base).stat(path) is not None:
            store_for(base).delete(path)
    return encoder


def _files(compiled: Compiled, spec: EncoderSpec, model: str) -> dict[str, bytes]:
    """The files of a bundle besides its model, in the order in which they are to be written."""
    is_there = isinstance(compiled.form, Form)
    files = {PARAM_FILE: compiled.param, BIN_FILE: compiled.weights} if is_there else {}
    return {**files, SPEC_FILE: seal(spec, model, to_values(compiled.form)).encode()}


def _write_files(base: str, output: str | os.PathLike[str], files: Mapping[str, bytes]) -> None:
    try:
        for name, content in files.items():
            store_for(base).write(join(base, name), content)
    except OSError as error:
        raise InputError(f"can't write the bundle to {os.fspath(output)!r}: {error}") from error


def _engine_of(form: Form | Refusal) -> str:
    if isinstance(form, Form):
        proof = f"differs by {form.max_difference:.1g} at most"
        return f"ncnn {form.version} can compute it, too ({proof})"
    return f"Keras; no compiled form for ncnn: {form.refused}"


def _test_images(spec: EncoderSpec) -> NDArray[np.float32]:
    """Preprocessed images (n, height, width, channels): random, black, white, and striped."""
    shape = (_RANDOM_IMAGES + 3, spec.height, spec.width, spec.channels)
    pixels = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    pixels[-3:] = 0
    pixels[-2] = 255
    pixels[-1, :, ::2] = 255
    tensor = preprocess_pixels(pixels, spec.preprocess)
    return np.asarray(keras.ops.convert_to_numpy(tensor), np.float32)


def _slices(cut: Cut) -> tuple[tuple[int, int], ...]:
    """The [start, stop) of each tap's values in the vector."""
    lengths = [pooled_length(tap.step.shape, cut.recipe.pooling) for tap in cut.taps]
    stops = np.cumsum(lengths).tolist()
    return tuple(zip([0, *stops[:-1]], stops, strict=True))
