"""Read the parts of a .keras file, a zip archive, and write one."""

from __future__ import annotations

import os
import shutil
import zipfile
import zlib
from typing import NamedTuple

from encoder.errors import InputError
from encoder.model_files.safety import parse_config

CONFIG = "config.json"
_METADATA = "metadata.json"
_WEIGHTS = "model.weights.h5"
# A .keras file holds weights uncompressed; compressed text keeps at least a tenth of its size.
_LARGEST_EXPANSION = 50
_HARMLESS_BYTES = 64 << 20
_LONGEST_TEXT = 16 << 20  # bytes; EfficientNetB7's is 0.6 MB


class Parts(NamedTuple):
    """What a .keras file holds."""

    config: bytes
    weights: str  # path of the extracted file
    is_keras2: bool


def unpack(file: str, folder: str, name: str) -> Parts:
    """Read the config of a .keras file, and extract the weights to a folder.

    Whatever else is in the archive stays there.

    Args:
        file: the file, on this machine.
        folder: where to write the weights.
        name: the model file's path, for messages.

    Raises:
        InputError: the file is damaged, lacks a part, or is a zip bomb.
    """
    weights = os.path.join(folder, _WEIGHTS)
    try:
        with zipfile.ZipFile(file) as archive:
            metadata, config = (_text(archive, part, name) for part in (_METADATA, CONFIG))
            with archive.open(_member(archive, _WEIGHTS, name)) as source:
                with open(weights, "wb") as target:
                    shutil.copyfileobj(source, target, 1 << 20)
    except InputError:
        raise
    # Damaged, or packed in a way (encrypted, another method) that Keras does not use.
    except (zipfile.BadZipFile, zlib.error, ValueError, EOFError, OSError, RuntimeError) as error:
        raise InputError(f"{name!r} is not a whole .keras file: {error}") from error
    version = str(parse_config(metadata, name).get("keras_version", ""))
    return Parts(config, weights, version.startswith("2."))


def pack(config: str, weights: str, target: str) -> None:
    """Write a .keras file with a config and a file of weights, and with nothing else."""
    with zipfile.ZipFile(target, "w") as archive:
        archive.writestr(_METADATA, "{}")
        archive.writestr(CONFIG, config)
        archive.write(weights, _WEIGHTS)


def _text(archive: zipfile.ZipFile, part: str, name: str) -> bytes:
    member = _member(archive, part, name)
    if member.file_size > _LONGEST_TEXT:
        raise InputError(
            f"{name!r} is no model file: {part!r} in it expands from {member.compress_size:,} to "
            f"{member.file_size:,} bytes; at most {_LONGEST_TEXT:,} are expected"
        )
    return archive.read(member)


def _member(archive: zipfile.ZipFile, part: str, name: str) -> zipfile.ZipInfo:
    if part not in archive.NameToInfo:
        raise InputError(f"{name!r} is not a whole .keras file: it has no {part!r}")
    member = archive.getinfo(part)
    if member.file_size > max(_HARMLESS_BYTES, _LARGEST_EXPANSION * member.compress_size):
        raise InputError(
            f"{name!r} is no model file: {part!r} in it expands from {member.compress_size:,} to "
            f"{member.file_size:,} bytes"
        )
    return member
