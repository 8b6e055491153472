"""Read JSON files that anybody may have written: one meaning, or an error that says what is wrong.

Python's own reader takes the last of two equal keys, NaN, and text in UTF-16, and it raises
RecursionError for deep nesting.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from typing import NoReturn

_BOM = b"\xef\xbb\xbf"
_DIGITS = 18  # of a whole number at most: every count and size is smaller, and fits into 64 bits


def parse_json(data: str | bytes, names: bool = False) -> object:
    """The value in a JSON text.

    Args:
        data: the text.
        names: whether strings may be names of files that are not UTF-8, which Python keeps as lone
            surrogates; see os.fsdecode.

    Raises:
        ValueError: the text is empty, no JSON, not UTF-8 or begins with a byte order mark; an
            object has a key twice; a number is infinite, NaN or a whole number of more than 18
            digits; a string holds half a character (a lone surrogate) that is not allowed; or
            brackets are nested too deeply.
    """
    try:
        if isinstance(data, bytes):
            if data.startswith(_BOM):
                raise ValueError("begins with a byte order mark; expected plain UTF-8")
            data = data.decode()
        if not data.strip():
            raise ValueError("is empty")
        value: object = json.loads(
            data,
            object_pairs_hook=_object,
            parse_constant=_no_number,
            parse_float=_finite,
            parse_int=_whole,
        )
        if not names and "\\ud" in data.lower():  # pairs of surrogates are fine, and rare
            json.dumps(value, ensure_ascii=False).encode()
    except (UnicodeDecodeError, UnicodeEncodeError) as error:
        raise ValueError(f"is not valid UTF-8 ({error.reason})") from error
    except RecursionError:
        raise ValueError("is not valid: its brackets are nested too deeply") from None
    except json.JSONDecodeError as error:
        raise ValueError(f"is no JSON ({error})") from error
    return value


def _object(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found = dict(pairs)
    if len(found) < len(pairs):
        ((twice, _),) = Counter(key for key, _ in pairs).most_common(1)
        raise ValueError(f"has the key {twice!r} twice in one object")
    return found


def _no_number(text: str) -> NoReturn:
    raise ValueError(f"has {text}, which is no number in JSON")


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"has the number {text[:20]}, which is too large")
    return value


def _whole(text: str) -> int:
    if len(text.lstrip("-")) > _DIGITS:
        raise ValueError(f"has the number {text[:20]}..., which is too large")
    return int(text)
