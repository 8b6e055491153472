"""Match relative paths with globs: those of inputs, and those of --include and --exclude.

Extensions match in upper and lower case, everything else as written. In inputs and --include, a
wildcard matches neither hidden names nor the folders that systems keep for themselves: the pattern
has to name these.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator
from typing import NamedTuple

import bracex
from wcmatch import glob

from encoder.errors import InputError
from pipeline.inputs.file_kinds import is_left_out, leftovers_in

MAGIC = re.compile(r"[*?\[{]")
_MOST_FORMS = 10_000  # that the braces of one glob may stand for; each takes a millisecond
_SHOWN = 200  # characters of a glob in an error
_EXTENSION = re.compile(r"(\.[^./]*)?\.(gz|bz2|xz)$|\.[^./]*$", re.I)


def extension_of(name: str) -> str:
    """The extension in lower case, such as ".jpg" or ".tar.gz"; "" if there is none."""
    found = _EXTENSION.search(name)
    return found[0].lower() if found else ""


@functools.cache
def extensions_of(pattern: str) -> frozenset[str]:
    """The extensions of a glob, in lower case."""
    return frozenset(extension_of(each) for each in _expanded(pattern))


def matches(pattern: str, path: str) -> bool:
    """Whether a glob matches a path in which it names all folders of systems, or which has none."""
    return fits(pattern, path) and all(names(pattern, each) for each in leftovers_in(path))


def fits(pattern: str, path: str) -> bool:
    """Whether a glob matches a path, whose folders of systems may be matched by wildcards."""
    return _matcher(pattern, glob.GLOBSTAR).fullmatch(_lower_extension(path)) is not None


def names(pattern: str, name: str) -> bool:
    """Whether a part of the glob names a hidden name, or a folder that systems keep.

    A hidden name is named by a part that starts with a dot, a system's folder only without
    wildcards.
    """
    parts = _parts(pattern)
    if leftovers_in(f"{name}/"):
        return name.lower() in {part.lower() for part in parts}
    return any(part.startswith(".") and fits(part, name) for part in parts)


def literal_brackets(pattern: str) -> str | None:
    """The glob with its brackets taken literally; None if it has none."""
    return pattern.replace("[", "[[]") if "[" in pattern else None


class Rule(NamedTuple):
    """One pattern of --include or --exclude.

    Attributes:
        glob: the glob; see by_name.
        by_name: the glob is matched with names at any depth; otherwise with whole relative paths.
        folders_only: the pattern ends with a slash, and matches folders only.
    """

    glob: str
    by_name: bool
    folders_only: bool

    def excludes(self, path: str, is_folder: bool = False) -> bool:
        """Whether a pattern of --exclude leaves out a path, by its name or by a folder above it."""
        parts = path.split("/")
        if self.folders_only and not is_folder:
            parts = parts[:-1]
        if self.by_name:
            return any(_covers(self.glob, part) for part in parts)
        paths = ("/".join(parts[:end]) for end in range(len(parts), 0, -1))
        return any(_covers(self.glob, each) for each in paths)

    def includes(self, path: str) -> bool:
        """Whether a pattern of --include takes a file; for by_name, see also lifts."""
        if self.folders_only:
            return False
        return matches(self.glob, path.rpartition("/")[2] if self.by_name else path)

    def lifts(self, name: str) -> bool:
        """Whether a pattern of --include names a hidden or a system's folder at any depth."""
        return self.by_name and names(self.glob, name)


@functools.cache
def rule_of(pattern: str, base: str) -> Rule:
    """The rule of a pattern of --include or --exclude for an input with this base."""
    below = base.rstrip("/") + "/"
    if pattern.startswith(below):
        pattern = "/" + pattern.removeprefix(below)
    bare = pattern.rstrip("/")
    return Rule(bare.removeprefix("./").lstrip("/"), "/" not in bare, bare != pattern)


def including(patterns: tuple[str, ...], base: str, path: str) -> list[str]:
    """The patterns of --include that take a file, whatever its extension.

    A pattern without a slash takes files in hidden folders and in those of systems only if such
    patterns name these folders.
    """
    rules = {each: rule_of(each, base) for each in patterns}
    reached = is_reached(patterns, base, f"{path.rpartition('/')[0]}/-")
    return [
        each
        for each, rule in rules.items()
        if (reached or not rule.by_name) and rule.includes(path)
    ]


def is_reached(patterns: tuple[str, ...], base: str, path: str) -> bool:
    """Whether patterns of --include name all that is hidden or a system's in a file's path."""
    parts = _left_out(path)
    return all(any(rule_of(each, base).lifts(part) for each in patterns) for part in parts)


def lifting(patterns: tuple[str, ...], base: str, path: str) -> list[str]:
    """The patterns of --include that name something hidden or a system's in a path."""
    special = _left_out(path)
    return [each for each in patterns if any(map(rule_of(each, base).lifts, special))]


def excluding(
    patterns: tuple[str, ...], base: str, path: str, is_folder: bool = False
) -> list[str]:
    """The patterns of --exclude that leave out a path."""
    return [each for each in patterns if rule_of(each, base).excludes(path, is_folder)]


def _expanded(pattern: str) -> Iterator[str]:
    """The globs that one with braces stands for.

    Raises:
        InputError: there are too many (40 characters can stand for billions), or the braces are
            nested too deep.
    """
    try:
        yield from bracex.iexpand(pattern, limit=_MOST_FORMS)
    except (bracex.ExpansionLimitException, RecursionError) as error:
        raise InputError(
            f"the braces of the glob {pattern[:_SHOWN]!r} stand for more than {_MOST_FORMS:,} "
            "globs, or are nested too deep; use fewer of them, or a wildcard"
        ) from error


@functools.cache
def _matcher(pattern: str, flags: int) -> re.Pattern[str]:
    """Matches paths from `_lower_extension`, so that only extensions match in any case."""
    forms: list[str] = []
    for each in _expanded(pattern):
        forms.extend(glob.translate(_lower_extension(each), flags=flags)[0])
    return re.compile("|".join(forms))


def _covers(pattern: str, path: str) -> bool:
    """Whether a glob matches a path, whose hidden names may be matched by wildcards."""
    matcher = _matcher(pattern, glob.GLOBSTAR | glob.DOTMATCH)
    return matcher.fullmatch(_lower_extension(path)) is not None


@functools.cache
def _parts(pattern: str) -> frozenset[str]:
    return frozenset(part for each in _expanded(pattern) for part in each.split("/"))


def _left_out(path: str) -> list[str]:
    """The parts of a file's path that are hidden or kept by systems for themselves."""
    if not is_left_out(path):
        return []
    *folders, name = path.split("/")
    hidden = [name] if is_left_out(name) else []
    return [part for part in folders if is_left_out(f"{part}/")] + hidden


def _lower_extension(name: str) -> str:
    found = _EXTENSION.search(name)
    return name[: found.start()] + found[0].lower() if found else name
