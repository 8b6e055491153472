r"""Text from outside, such as names of files, as a terminal can show it without harm.

Control characters could recolour or clear a terminal, change its title, or begin a line that looks
like one of ours. Others are invisible, or turn the order of the letters around. They are shown as
escapes: ``\x1b``, ``\n``, ``\u202e``. Data, such as Parquet and JSON, keeps them.
"""

from __future__ import annotations

import json
import re

LONGEST = 2000  # characters of a line
# ZWNJ and ZWJ belong to emoji and to some scripts, between two characters beyond Latin-1.
_JOINED = "[^\x00-\xff\u2000-\u206f\ud800-\udfff]"
_UNSEEN = re.compile(
    "["
    "\x00-\x1f\x7f-\x9f"  # C0, DEL and C1
    "\xad\u061c\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb"  # format
    "\ud800-\udfff"  # halves of pairs, as in names that are not UTF-8
    "\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e00ff"  # format and tags
    "]"
    f"|(?<!{_JOINED})[\u200c\u200d]|[\u200c\u200d](?!{_JOINED})"
)


def escaped(text: str) -> str:
    """The text with escapes for all that is invisible or controls a terminal, line ends too."""
    if text.isascii() and text.isprintable():
        return text
    return _UNSEEN.sub(_escape, text)


def cut(text: str, most: int = LONGEST) -> str:
    """The text, without its middle if it has more characters than ``most``."""
    if len(text) <= most:
        return text
    end = (most - 1) // 2
    return f"{text[: most - 1 - end]}…{text[len(text) - end :]}"


def printable(text: str, most: int = LONGEST) -> str:
    """The text as one line of at most ``most`` characters: escaped, and cut in its middle."""
    return cut(escaped(cut(text, most)), most)


def json_text(value: object, indent: int | None = None) -> str:
    r"""A value as JSON in which all that ``escaped`` escapes is ``\uNNNN``; the data is exact.

    Args:
        value: what json.dumps takes.
        indent: as in json.dumps; without it, the text is one line.
    """
    text = json.dumps(value, ensure_ascii=False, indent=indent)
    return "\n".join(_UNSEEN.sub(_json_escape, line) for line in text.split("\n"))


def _escape(found: re.Match[str]) -> str:
    return found[0].encode("unicode_escape").decode()


def _json_escape(found: re.Match[str]) -> str:
    code = found[0].encode("utf-16-be", "surrogatepass").hex()
    return "".join(f"\\u{code[place : place + 4]}" for place in range(0, len(code), 4))
