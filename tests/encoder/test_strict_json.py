"""JSON has one meaning here, or it is refused with the reason."""

import pytest

from encoder.strict_json import parse_json


@pytest.mark.parametrize(
    ("text", "value"),
    [
        (b'{"a": [1, 2.5, null, true]}', {"a": [1, 2.5, None, True]}),
        ('"\\ud83d\\ude00"', "\U0001f600"),
        (b'"\\\\ud800"', "\\ud800"),
        (b"999999999999999999", 999_999_999_999_999_999),
    ],
)
def test_values(text, value):
    assert parse_json(text) == value


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (b"", "is empty"),
        (b" \n", "is empty"),
        (b"{", "is no JSON"),
        (b"{} {}", "is no JSON"),
        (b"\xef\xbb\xbf{}", "byte order mark"),
        (b'"\xff"', "is not valid UTF-8"),
        ("{}".encode("utf-16"), "is not valid UTF-8"),
        ("{}".encode("utf-32"), "is not valid UTF-8"),
        (b'"\\ud800"', "is not valid UTF-8"),
        (b'{"a": {"b": 1, "c": 2, "b": 3}}', "has the key 'b' twice"),
        (b"[NaN]", "has NaN"),
        (b"[-Infinity]", "has -Infinity"),
        (b"1e999", "too large"),
        (b"1000000000000000000", "too large"),
        (b"-" + b"9" * 5000, "too large"),
        (b"[" * 200_000, "nested too deeply"),
        (b'{"a":' * 200_000, "nested too deeply"),
        (b"[" * 200_000 + b"]" * 200_000, "nested too deeply"),
    ],
    ids=lambda value: repr(value[:20]),
)
def test_what_is_refused(text, reason):
    with pytest.raises(ValueError, match=reason):
        parse_json(text)
