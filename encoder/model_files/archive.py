"""Read the parts of a .keras file, a zip archive, and write one."""

from __future__ import annotations

import contextlib
import os
import shutil
import zipfile
import zlib
from collections.abc import Iterator
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


class Description(NamedTuple):
    """How a .keras file describes its model."""

    config: bytes
    version: str  # of the Keras that wrote it, such as "3.5.0"

    @property
    def is_keras2(self) -> bool:
        """Whether Keras 2 wrote it."""
        return self.version.startswith("2.")


def read_description(file: str, name: str) -> Description:
    """Read the texts in a .keras file.

    Args:
        file: the file, on this machine.
        name: the model file's path, for messages.

    Raises:
        InputError: the file is damaged, lacks a text, or is a zip bomb.
    """
    with _opened(file, name) as archive:
        metadata, config = (_text(archive, part, name) for part in (_METADATA, CONFIG))
    version = str(parse_config(metadata, name).get("keras_version", ""))
    return Description(config, version)


def extract_weights(file: str, folder: str, name: str) -> str:
    """Extract the weights of a .keras file to a folder, and nothing else; returns their path.

    Raises:
        InputError: the file is damaged, lacks weights, or is a zip bomb.
    """
    weights = os.path.join(folder, _WEIGHTS)
    with _opened(file, name) as archive:
        member = _member(archive, _WEIGHTS, name)
        with archive.open(member) as source, open(weights, "wb") as target:
            shutil.copyfileobj(source, target, 1 << 20)
    return weights


def pack(config: str, weights: str, target: str) -> None:
    """Write a .keras file with a config and a file of weights, and with nothing else."""
    with zipfile.ZipFile(target, "w") as archive:
        archive.writestr(_METADATA, "{}")
        archive.writestr(CONFIG, config)
        archive.write(weights, _WEIGHTS)


def with_config(file: str, config: str, folder: str) -> str:
    """Copy a .keras file to a folder, with another config; returns the copy's path."""
    target = os.path.join(folder, "with_config.keras")
    with zipfile.ZipFile(file) as source, zipfile.ZipFile(target, "w") as copy:
        for member in source.infolist():
            if member.filename == CONFIG:
                copy.writestr(CONFIG, config)
            elif not member.is_dir():
                with source.open(member) as opened, copy.open(member.filename, "w") as written:
                    shutil.copyfileobj(opened, written, 1 << 20)
    return target


@contextlib.contextmanager
def _opened(file: str, name: str) -> Iterator[zipfile.ZipFile]:
    try:
        with zipfile.ZipFile(file) as archive:
            yield archive
    except InputError:
        raise
    # Damaged, or packed in a way (encrypted, another method) that Keras does not use.
    except (zipfile.BadZipFile, zlib.error, ValueError, EOFError, OSError, RuntimeError) as error:
        raise InputError(f"{name!r} is not a whole .keras file: {error}") from error


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
        raise InputError(f"can't load {name!r}, which is not a whole .keras file: no {part!r}")
    member = archive.getinfo(part)
    if member.file_size > max(_HARMLESS_BYTES, _LARGEST_EXPANSION * member.compress_size):
        raise InputError(
            f"{name!r} is no model file: {part!r} in it expands from {member.compress_size:,} to "
            f"{member.file_size:,} bytes"
        )
    return member
