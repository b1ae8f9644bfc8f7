"""The `Idempotency-Key` header: a structured-field string, or the same without its quotes."""

from __future__ import annotations

import re

import pytest

from api.idempotency import KEY_PATTERN, MAX_CHARACTERS, wanted_key
from shared.errors import IdempotencyKeyMalformed


@pytest.mark.parametrize(
    ("header", "key"),
    [
        (None, None),
        ("8e03978e-40d5-43dd-bc93-6894a57f9324", "8e03978e-40d5-43dd-bc93-6894a57f9324"),
        ('"8e03978e-40d5-43dd-bc93-6894a57f9324"', "8e03978e-40d5-43dd-bc93-6894a57f9324"),
        ("order:12/3+a=b==", "order:12/3+a=b=="),
        ('  "a"\t', "a"),
        ('"two words, three; four"', "two words, three; four"),
        (r'"a \"quoted\" \\ key"', r'a "quoted" \ key'),
        ("!#$%&'()*+-./09:<=>?@AZ[]^_`az{|}~", "!#$%&'()*+-./09:<=>?@AZ[]^_`az{|}~"),
        ("k" * 255, "k" * 255),
        ('"' + r"\"" * 255 + '"', '"' * 255),
    ],
)
def test_a_key_is_read_when_it_is_quoted_or_bare(header: str | None, key: str | None) -> None:
    assert wanted_key(header) == key
    assert header is None or re.search(KEY_PATTERN, header.strip())


@pytest.mark.parametrize(
    "header",
    [
        "", " ", '""', '"', '"a', 'a"', 'a"b', '"a"b', '"a";b=1', "a b", "a,b", "a;b", "a\\b",
        '"a\\b"', '"a\tb"', "a\x00", "a\x7f", "\xfc", '"\xfc"', "k" * 256, '"' + "k" * 256 + '"',
    ],
)  # fmt: skip
def test_a_key_is_refused_when_it_is_empty_illegal_or_too_long(header: str) -> None:
    with pytest.raises(IdempotencyKeyMalformed):
        wanted_key(header)
    assert len(header) > MAX_CHARACTERS or not re.search(KEY_PATTERN, header)
