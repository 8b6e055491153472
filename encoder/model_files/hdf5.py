"""Check HDF5 files, and read a model's config from them.

An HDF5 file can show data of other files (links, external storage, virtual datasets), name a plugin
that decodes its data, and declare arrays that are far larger than the file.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import h5py
import numpy as np

from encoder.errors import InputError

SIGNATURE = b"\x89HDF\r\n\x1a\n"
CONFIG = "model_config"
# HDF5's own filters: gzip, shuffle, fletcher32, szip, nbit, scaleoffset; and h5py's lzf.
_FILTERS = {1, 2, 3, 4, 5, 6, 32000}
_KINDS = "biufcV"  # numbers; V is how h5py shows bfloat16
# What files of weights have: those of Keras 1 and 2, and .weights.h5 files.
_KERAS_ATTRIBUTES = {"nb_layers", "layer_names", "keras_version"}
_KERAS_GROUPS = {"model_weights", "layers", "vars", "_layer_checkpoint_dependencies"}
_MOST_NAMED = 8
_LARGEST_EXPANSION = 50
_HARMLESS_BYTES = 64 << 20


def check_hdf5(file: str, name: str, size: int) -> None:
    """Refuse an HDF5 file that could show data of other files, or fill the memory.

    Args:
        file: the file, on this machine.
        name: the model file's path, for messages.
        size: bytes of the model file.

    Raises:
        InputError: it could, or it is damaged.
    """
    limit = max(_HARMLESS_BYTES, _LARGEST_EXPANSION * size)
    total = 0
    try:
        with h5py.File(file, "r") as archive:
            for place, dataset in _datasets(archive, name):
                total += _checked_bytes(dataset, place, name)
                if total > limit:
                    raise InputError(
                        f"{name!r} declares arrays of more than {limit:,} bytes, and has "
                        f"{size:,} bytes; {place!r} is one of them"
                    )
    except (OSError, RuntimeError, KeyError, TypeError, ValueError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(
            f"{name!r} is not a whole .h5 file: {error}. Download or copy it again"
        ) from error


def read_config(file: str, name: str) -> str | bytes | None:
    """The text in which Keras describes the model in an .h5 file; None if it holds weights only.

    Raises:
        InputError: the file is damaged, or the description is no text.
    """
    try:
        with h5py.File(file, "r") as archive:
            if CONFIG not in archive.attrs:
                return None
            stored = archive.attrs.get_id(CONFIG)
            is_text = stored.shape == () and stored.dtype.kind in "OS"
            text = archive.attrs[CONFIG] if is_text else None
    except (OSError, RuntimeError, KeyError, TypeError, ValueError) as error:
        raise InputError(
            f"{name!r} is not a whole .h5 file: {error}. Download or copy it again"
        ) from error
    if not isinstance(text, str | bytes):
        raise InputError(f"{name!r} has a damaged description of its layers: it is no text")
    return text


def foreign_content(file: str) -> str:
    """The names in an HDF5 file that holds neither a model nor weights of Keras; "" if it does."""
    with h5py.File(file, "r") as archive:
        if _KERAS_ATTRIBUTES & set(archive.attrs) or _KERAS_GROUPS & set(archive):
            return ""
        return ", ".join(repr(name) for name in list(archive)[:_MOST_NAMED]) or "nothing"


def keras_version(file: str) -> str:
    """The version of the Keras that wrote an .h5 file with a model; "" if it is not stated."""
    with h5py.File(file, "r") as archive:
        version = archive.attrs.get("keras_version", "")
    return version.decode("utf-8", "replace") if isinstance(version, bytes) else str(version)


def is_keras2(file: str) -> bool:
    """Whether an .h5 file with a model was written by Keras 2 (or 1), and not by Keras 3."""
    major = keras_version(file).partition(".")[0]
    return not major.isdecimal() or int(major) < 3


def write_model(
    file: str, config: str, target: str, name: str, hidden: Iterable[tuple[str, ...]] = ()
) -> None:
    """Write an .h5 file with a config and the weights of another file, and with nothing else.

    Args:
        file: the other file, on this machine.
        config: the description of the layers.
        target: the new file.
        name: the model file's path, for messages.
        hidden: layers whose weights are left out, see encoder.model_files.configs.hiding.

    Raises:
        InputError: the other file has no weights.
    """
    with h5py.File(file, "r") as source, h5py.File(target, "w") as copy:
        if not isinstance(source.get("model_weights"), h5py.Group):
            raise InputError(f"{name!r} has no weights; save the whole model with model.save(...)")
        source.copy("model_weights", copy)
        copy.attrs[CONFIG] = config
        for path in hidden:
            _hide_weights(copy["model_weights"], path)


def _hide_weights(weights: h5py.Group, path: tuple[str, ...]) -> None:
    """Take the weights of a layer, or of a layer in a nested model, off the list of weights."""
    outermost, inner = path[0], path[1:]
    if not isinstance(weights.get(outermost), h5py.Group):
        return
    listed = weights[outermost].attrs
    # Keras cuts long lists into weight_names0, weight_names1 ...
    for key in [key for key in listed if key.rstrip("0123456789") == "weight_names"]:
        names = [each.decode() if isinstance(each, bytes) else str(each) for each in listed[key]]
        kept = [each for each in names if inner and f"/{inner[-1]}/" not in f"/{each}"]
        listed[key] = np.array(
            [each.encode() for each in kept], dtype=f"S{max(map(len, names), default=1)}"
        )


def widen_bfloat16(file: str) -> None:
    """Store the bfloat16 arrays of an .h5 file as float32, which holds the same numbers.

    HDF5 has no bfloat16: Keras 2 writes two bytes without a meaning, and can't read them.
    """
    with h5py.File(file, "r+") as archive:
        found: list[str] = []
        archive.visititems(lambda path, item: found.append(path) if _is_bfloat16(item) else None)
        for path in found:
            bits = archive[path][()].view(np.uint16).astype(np.uint32) << 16
            attributes = dict(archive[path].attrs)
            del archive[path]
            archive[path] = bits.view(np.float32)
            archive[path].attrs.update(attributes)


def _is_bfloat16(item: object) -> bool:
    return isinstance(item, h5py.Dataset) and item.dtype.kind == "V" and item.dtype.itemsize == 2


def _datasets(archive: h5py.File, name: str) -> Iterator[tuple[str, h5py.Dataset]]:
    """Each dataset once, with its path, even if a group is linked from below itself."""
    seen: set[object] = set()
    waiting = [("", archive)]
    while waiting:
        path, item = waiting.pop()
        key = (item.id.__class__, h5py.h5o.get_info(item.id).addr)
        if key in seen:
            continue
        seen.add(key)
        if isinstance(item, h5py.Dataset):
            yield path, item
        elif isinstance(item, h5py.Group):
            for each in item:
                link = type(item.get(each, getlink=True))
                if link is not h5py.HardLink:
                    raise InputError(
                        f"{name!r} has a link at {path}/{each!r} ({link.__name__}), which may "
                        "lead to another file; a model saved by Keras has none"
                    )
                waiting.append((f"{path}/{each}", item[each]))


def _checked_bytes(dataset: h5py.Dataset, place: str, name: str) -> int:
    """The bytes that a dataset takes in memory."""
    plan = dataset.id.get_create_plist()
    filters = {plan.get_filter(number)[0] for number in range(plan.get_nfilters())}
    if dataset.external or dataset.is_virtual:
        what = "shows data of another file"
    elif not filters <= _FILTERS:
        what = f"needs the HDF5 plugins {sorted(filters - _FILTERS)}"
    elif dataset.dtype.kind not in _KINDS:
        what = f"holds {dataset.dtype} and not numbers"
    else:
        return int(dataset.size or 0) * int(dataset.dtype.itemsize)
    raise InputError(f"{name!r} is refused: {place!r} in it {what}, which no weights of Keras do")
