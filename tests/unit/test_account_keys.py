"""API keys: read back as they were written, and their secret shown nowhere."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.accounts.keys import new_key, parse_key


def test_a_key_is_read_back_when_it_was_written_as_text() -> None:
    key = new_key()
    assert parse_key(key.text) == key
    assert key.matches(key.secret_hash)
    assert not new_key().matches(key.secret_hash)


def test_a_secret_is_not_shown_when_a_key_is_printed() -> None:
    key = new_key()
    assert key.secret not in f"{key!r} {key} {[key]}"
    assert len(key.secret) == 43


def test_no_two_keys_are_alike_when_many_are_made() -> None:
    keys = [new_key() for _ in range(200)]
    assert len({key.id for key in keys}) == len({key.secret for key in keys}) == 200


@given(st.text(st.characters(), max_size=80))
def test_a_text_is_no_key_when_it_has_not_its_form(text: str) -> None:
    assert parse_key(text) is None


@pytest.mark.parametrize("change", [str.upper, str.strip, lambda t: t + "\n", lambda t: t[:-1]])
def test_a_key_is_refused_when_a_letter_of_it_is_off(change: object) -> None:
    text = new_key().text
    changed = change(text)  # type: ignore[operator]
    assert changed == text or parse_key(changed) is None
