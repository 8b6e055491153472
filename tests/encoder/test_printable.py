import json

import pytest

from encoder.errors import InputError
from encoder.printable import LONGEST, cut, escaped, json_text, printable
from pipeline.errors import JobError

LETTERS = "Ünïcödé ελληνικά русский עברית العربية हिन्दी ไทย 日本語 한국어 ñ ß €"
EMOJI = "👨‍👩‍👧‍👦 ❤️‍🔥 👍🏽 🇩🇪 1️⃣"
JOINED = "می‌خواهم क्‍ष"


@pytest.mark.parametrize("text", [LETTERS, EMOJI, JOINED, "a b\\n", ""])
def test_letters_of_all_languages_stay(text):
    assert escaped(text) == printable(text) == text
    assert json_text(text) == json.dumps(text, ensure_ascii=False)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b]0;title\x07", r"\x1b]0;title\x07"),
        ("a\nerror: b\r\t", r"a\nerror: b\r\t"),
        ("\x7f\x85\x9b31m", r"\x7f\x85\x9b31m"),
        ("\u202egpj.exe\u2066\u200f", r"\u202egpj.exe\u2066\u200f"),
        ("a\u200bb\ufeffc\xadd\u2060", r"a\u200bb\ufeffc\xadd\u2060"),
        ("a\u200db", r"a\u200db"),
        ("日\u200d\u200d本", r"日\u200d\u200d本"),
        ("\u2028\u2029", r"\u2028\u2029"),
        ("\udcff\ud800", r"\udcff\ud800"),
        ("x\U000e0041\U000e007f", r"x\U000e0041\U000e007f"),
    ],
)
def test_what_can_not_be_seen_or_controls_a_terminal_is_escaped(text, shown):
    assert escaped(text) == printable(text) == shown
    assert json.loads(json_text(text)) == text
    assert json_text(text).isprintable()


def test_every_character_stays_or_is_escaped():
    for code in range(0x110000):
        shown = escaped(chr(code))
        assert shown == chr(code) or shown.isascii()
        if code < 32 or 0x7F <= code < 0xA0:
            assert shown.isprintable()


def test_long_texts_lose_their_middle():
    assert cut("abcdefghij", 10) == "abcdefghij"
    assert cut("abcdefghijk", 10) == "abcde…hijk"
    assert printable("a" + "\x1b" * 10_000_000 + "z", 20) == r"a\x1b\x1b\…\x1b\x1bz"
    assert len(printable("x" * 3000)) == LONGEST


def test_json_with_an_indent():
    value = {"a\n\x9b": ["\x7f\U000e0041", 1]}
    text = json_text(value, indent=2)
    assert json.loads(text) == value
    assert text.count("\n") == json.dumps(value, indent=2).count("\n")
    assert all(line.isprintable() for line in text.split("\n"))


@pytest.mark.parametrize("kind", [InputError, JobError])
def test_messages_of_errors_are_one_line(kind):
    assert str(kind("/a\n.jpg is wrong")) == r"/a\n.jpg is wrong"
