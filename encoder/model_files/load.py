"""Load a trained model from a file of any supported format, without running code from the file.

What is checked is what is loaded. A file is read once; from the description of the layers that was
checked, and from the weights, a new file is written, and Keras loads that.
"""

from __future__ import annotations

import contextlib
import copy
import hashlib
import json
import os
import tempfile
import warnings
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import NamedTuple

import keras

from encoder.errors import InputError, shortened
from encoder.model_files import archive, hdf5, saved_model
from encoder.model_files.checkpoint import files_of
from encoder.model_files.configs.custom_objects import import_module, objects_of
from encoder.model_files.configs.hiding import Hidden, has_layers, hide, stand_ins, take_graphs
from encoder.model_files.configs.keras2 import (
    model_settings,
    modernize,
    name_operations,
    operation_objects,
)
from encoder.model_files.configs.keras2_layers import (
    Config,
    check_convertible,
    modernize_layers,
)
from encoder.model_files.configs.keras3 import modernize_keras3
from encoder.model_files.configs.safety import (
    check_code,
    drop_training,
    foreign_parts,
    parse_config,
)
from encoder.model_files.kinds import (
    INDEX_ENDING,
    SAVED_MODEL,
    is_archive,
    is_checkpoint,
    no_model_here,
)
from encoder.model_files.weights import load_weights
from encoder.storage.base import join
from encoder.storage.registry import is_remote, normalize, store_for


def ignore(_: str) -> None:
    """Do nothing with a message."""


class _Code(NamedTuple):
    """What to do about code that a file needs.

    Attributes:
        objects: classes and functions of the user's, by the names that files have for them.
        hide: hide the layers that need other code, and those behind them; else they are refused.
        say: called with a sentence on each class whose code is left out.
    """

    objects: Mapping[str, object]
    hide: bool
    say: Callable[[str], None]


def load_model(
    path: str | os.PathLike[str],
    *,
    trust: bool = False,
    builder: str | None = None,
    custom_objects: Sequence[str] = (),
    hide: bool = False,
    say: Callable[[str], None] = ignore,
) -> tuple[keras.Model, str]:
    """Load a trained model.

    Args:
        path: local or gs://: a ``.keras`` or ``.h5`` file of Keras 2 or 3, a SavedModel folder of
            Keras 2 (if tf-keras is installed), or, with a builder, a weights file or the .index
            file of a TensorFlow checkpoint.
        trust: allow Lambda layers and custom classes, whose code then runs.
        builder: "module:function", which returns the untrained network; the file's weights are
            loaded into it, and must be exactly the network's weights.
        custom_objects: names of modules that define classes and functions of the file, which may
            then run.
        hide: where other code would be needed, put HiddenLayer (encoder.stand_ins) in the
            place of the layer and of all layers behind it.
        say: called with a sentence on each custom class that is taken as a graph of layers.

    Returns:
        The model, not compiled, and the SHA-256 of the file in hex.

    Raises:
        InputError: there is no such file, it is not a whole model, it contains code (with hide:
            before the first layer), or its weights do not fit the builder's network.
    """
    name = os.fspath(path)
    code = _Code(objects_of(custom_objects), hide, say)
    with contextlib.ExitStack() as stack:
        file = stack.enter_context(_local_copy(normalize(path)))
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        if builder is not None:
            model = _build(builder)
            load_weights(model, _weights(file, folder, name))
        elif trust:
            model = _load_trusted(file, folder, name, code)
        else:
            model = _load_checked(file, folder, name, code)
        return model, _sha256(file)


def _load_checked(file: str, folder: str, name: str, code: _Code) -> keras.Model:
    """Load a model whose file may be hostile."""
    if os.path.isdir(file):
        text = saved_model.read_saved_model(file, name)
        described = parse_config(text, name)
        config, _ = _checked(
            {key: described.get(key) for key in ("class_name", "config")}, name, code
        )
        return _load_converted(file, config, stand_ins(config), folder, name, code)
    if not is_archive(file, name):
        return _load_hdf5(file, folder, name, code)
    description = archive.read_description(file, name)
    config, _ = _checked(parse_config(description.config, name), name, code)
    clean = os.path.join(folder, "clean")
    os.mkdir(clean)
    weights = archive.extract_weights(file, clean, name)
    hdf5.check_hdf5(weights, name, os.path.getsize(file))
    if description.is_keras2:
        check_convertible(config, name)
        hdf5.widen_bfloat16(weights)
        packed = os.path.join(folder, "clean.keras")
        archive.pack(json.dumps(config), weights, packed)
        return _load_converted(packed, None, stand_ins(config), folder, name, code)
    modernize_keras3(config, description.version)
    with open(os.path.join(clean, archive.CONFIG), "w", encoding="utf-8") as opened:
        json.dump(config, opened)
    return _load_by_keras(clean, name, {**stand_ins(config), **code.objects})


def _load_converted(
    source: str,
    config: Config | None,
    hidden: Collection[str],
    folder: str,
    name: str,
    code: _Code,
) -> keras.Model:
    """Load what only tf-keras reads; what comes back from it is checked as any other file."""
    converted = os.path.join(folder, "converted", "model.h5")
    os.mkdir(os.path.dirname(converted))
    saved_model.convert(source, config, converted, name, hidden)
    return _load_hdf5(converted, folder, name, code)


def _load_trusted(file: str, folder: str, name: str, code: _Code) -> keras.Model:
    """Load a model whose code may run, just as Keras loads it."""
    converted = os.path.join(folder, "converted.h5")
    if os.path.isdir(file):
        saved_model.convert_trusted(file, converted, name)
    elif not is_archive(file, name):
        return _load_hdf5(file, folder, name, code, trust=True)
    elif (description := archive.read_description(file, name)).is_keras2:
        saved_model.convert_trusted(file, converted, name)
    else:
        config = parse_config(description.config, name)
        if modernize_keras3(config, description.version):
            file = archive.with_config(file, json.dumps(config), folder)
        return _load_by_keras(file, name, code.objects, trust=True)
    return _load_hdf5(converted, folder, name, code, trust=True)


def _load_hdf5(
    file: str, folder: str, name: str, code: _Code, *, trust: bool = False
) -> keras.Model:
    text = hdf5.read_config(file, name)
    if text is None:
        foreign = hdf5.foreign_content(file)
        if foreign:
            raise InputError(
                f"{name!r} is an HDF5 file of other data, not a model saved by Keras: it holds "
                f"{foreign}. Save the trained network with model.save('model.keras') and name that"
            )
        raise InputError(
            f"{name!r} holds weights only, no architecture; name the function that builds the "
            "network with --builder MODULE:FUNCTION, or save the whole model with model.save(...)"
        )
    config = parse_config(text, name)
    hidden: Hidden = []
    if not trust:
        hdf5.check_hdf5(file, name, os.path.getsize(file))
        config, hidden = _checked(config, name, code)
    with _described(name):
        if hdf5.is_keras2(file):
            modernize_layers(config)
        else:
            modernize_keras3(config, hdf5.keras_version(file))
        modernize(config)
        name_operations(config)
    clean = os.path.join(folder, "clean.h5")
    hdf5.write_model(file, json.dumps(config), clean, name, hidden)
    if hdf5.is_keras2(file):
        hdf5.widen_bfloat16(clean)
    return _load_by_keras(clean, name, {**stand_ins(config), **code.objects}, trust=trust)


def _load_by_keras(
    file: str, name: str, objects: Mapping[str, object], *, trust: bool = False
) -> keras.Model:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about arguments from older versions
            return keras.saving.load_model(
                file, {**operation_objects(), **objects}, compile=False, safe_mode=not trust
            )
    except Exception as error:  # Keras raises many types; all mean that the file can't be used
        raise InputError(
            f"Keras {keras.__version__} can't load {name!r}: {shortened(error)}"
        ) from error


def _checked(config: Config, name: str, code: _Code) -> tuple[Config, Hidden]:
    """The config without what training needs and without code; and the layers that are hidden."""
    drop_training(config, of_layers=code.hide)

    def reasons(layer: Config) -> list[str]:
        found = foreign_parts(layer, name, code.objects)
        return list(dict.fromkeys(what for _, what in found))

    hidden: Hidden = []
    if code.hide and model_settings(config) and reasons(config):
        visible = copy.deepcopy(config)
        with _described(name):
            graphs = take_graphs(visible, reasons)
            hidden = hide(visible, reasons)
        if has_layers(visible):  # else the whole config is refused below
            config = visible
            for each in graphs:
                code.say(f"the class {each!r} is taken as a graph of layers; its own code is not")
    check_code(config, name, code.objects)
    return config, hidden


@contextlib.contextmanager
def _described(name: str) -> Iterator[None]:
    """Turn errors of code that goes through the description of the layers into InputError."""
    try:
        yield
    except InputError:
        raise
    except (LookupError, TypeError, AttributeError, ValueError, RecursionError) as error:
        raise InputError(
            f"{name!r} does not describe its layers as Keras does: {error!r}"
        ) from error


def _weights(file: str, folder: str, name: str) -> str:
    """The file itself, the extracted weights of a .keras file, or a SavedModel's checkpoint."""
    if os.path.isdir(file):
        return os.path.join(file, "variables", f"variables{INDEX_ENDING}")
    if is_checkpoint(file) or file.endswith(".weights.json"):
        return file
    return archive.extract_weights(file, folder, name) if is_archive(file, name) else file


def _build(builder: str) -> keras.Model:
    module, _, function = builder.partition(":")
    try:
        model = getattr(import_module(module), function)()
    except Exception as error:  # the user's code may raise any type
        raise InputError(
            f"--builder {builder!r} can't be called: {shortened(error)}. Expected MODULE:FUNCTION, "
            "a function without arguments that gives the untrained keras.Model"
        ) from error
    if not isinstance(model, keras.Model):
        raise InputError(f"--builder {builder!r} gives {type(model).__name__}, not a keras.Model")
    return model


@contextlib.contextmanager
def _local_copy(path: str) -> Iterator[str]:
    """The path of the file, or SavedModel folder, on this machine; remote files are copied.

    A checkpoint is the path of its .index file, with the files of its data beside it.
    """
    store = store_for(path)
    is_saved_model = store.stat(join(path, SAVED_MODEL)) is not None
    if not is_saved_model and store.stat(path) is None:
        if store.stat(path + INDEX_ENDING) is None:
            raise no_model_here(store, path)
        path += INDEX_ENDING  # TensorFlow names a checkpoint so
    if not is_remote(path):
        yield path
        return
    with tempfile.TemporaryDirectory() as folder:
        parent = path.rpartition("/")[0]
        wanted = (
            [info.path for info in store.list_files(path)] if is_saved_model else files_of(path)
        )
        for each in wanted:
            target = folder + each.removeprefix(parent)
            os.makedirs(os.path.dirname(target), exist_ok=True)
            with open(target, "wb") as opened:
                opened.write(store.read(each)[0])
        yield folder + path.removeprefix(parent)


def _sha256(path: str) -> str:
    """The hash of a file's content, or of the names and contents of a folder's files, in hex."""
    if os.path.isdir(path):
        digest = hashlib.sha256()
        for info in sorted(store_for(path).list_files(path)):
            digest.update(f"{info.path.removeprefix(path)}\0{_sha256(info.path)}\n".encode())
        return digest.hexdigest()
    digest = hashlib.sha256()
    for each in files_of(path):  # several for a checkpoint
        with open(each, "rb") as opened:
            while block := opened.read(1 << 20):
                digest.update(block)
    return digest.hexdigest()
