"""Classes and functions of the user's that a model file names: ``--custom-objects MODULE``."""

from __future__ import annotations

import importlib
import inspect
import os
import sys
from collections.abc import Sequence
from types import ModuleType

import keras

from encoder.errors import InputError, shortened

_REGISTERED = "Custom>"  # what Keras puts before a name that was registered without a package


def objects_of(modules: Sequence[str]) -> dict[str, object]:
    """The classes and functions that modules define, by the names that model files have for them.

    Args:
        modules: names of modules, which are imported: their code runs.

    Raises:
        InputError: a module can't be imported, or defines none.
    """
    found: dict[str, object] = {}
    for name in modules:
        defined = _defined_in(name)
        if not defined:
            raise InputError(
                f"--custom-objects {name!r} defines no class or function; name the module that "
                "holds the code of the layers"
            )
        found.update(defined)
    return found


def import_module(name: str) -> ModuleType:
    """Import a module of the user's, which may be in the current folder."""
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())  # python -m does this, the installed command does not
    return importlib.import_module(name)


def _defined_in(name: str) -> dict[str, object]:
    try:
        module = import_module(name)
    except Exception as error:  # the user's code may raise any type
        raise InputError(
            f"--custom-objects {name!r} can't be imported: {shortened(error)}. Expected the name "
            "of a Python module, such as my_layers for my_layers.py in this folder"
        ) from error

    def is_own(value: object) -> bool:
        return str(getattr(value, "__module__", "")).partition(".")[0] == name.partition(".")[0]

    found = {
        key: value
        for key, value in vars(module).items()
        if (inspect.isclass(value) or inspect.isfunction(value)) and is_own(value)
    }
    registered = {
        key: value for key, value in keras.saving.get_custom_objects().items() if is_own(value)
    }
    short = {key.removeprefix(_REGISTERED): value for key, value in registered.items()}
    return {**found, **short, **registered}
