"""Secrets of webhooks at rest."""

from __future__ import annotations

import pytest

from shared.errors import SecretUnreadable
from shared.webhooks.sealing import Sealer

SECRET = "whsec_planted"


def test_a_secret_is_read_again_when_key_and_owner_are_the_same() -> None:
    sealed = Sealer("a key").seal(SECRET, "ep_1")
    assert b"planted" not in sealed
    assert Sealer("a key").open(sealed, "ep_1") == SECRET


def test_a_secret_is_sealed_otherwise_each_time() -> None:
    sealer = Sealer("a key")
    assert sealer.seal(SECRET, "ep_1") != sealer.seal(SECRET, "ep_1")


@pytest.mark.parametrize("at", [0, 1, 13, -1])
def test_a_secret_is_not_read_when_a_bit_of_it_is_another(at: int) -> None:
    sealed = bytearray(Sealer("a key").seal(SECRET, "ep_1"))
    sealed[at] ^= 1
    with pytest.raises(SecretUnreadable):
        Sealer("a key").open(bytes(sealed), "ep_1")


@pytest.mark.parametrize(("key", "owner"), [("another", "ep_1"), ("a key", "ep_2")])
def test_a_secret_is_not_read_when_key_or_owner_is_another(key: str, owner: str) -> None:
    sealed = Sealer("a key").seal(SECRET, "ep_1")
    with pytest.raises(SecretUnreadable) as caught:
        Sealer(key).open(sealed, owner)
    assert "planted" not in str(caught.value)


@pytest.mark.parametrize("sealed", [b"", b"\x01", b"\x01" + b"x" * 12])
def test_a_secret_is_not_read_when_it_is_cut_off(sealed: bytes) -> None:
    with pytest.raises(SecretUnreadable):
        Sealer("a key").open(sealed, "ep_1")


def test_nothing_is_sealed_when_there_is_no_key() -> None:
    with pytest.raises(ValueError, match="TOWLINE_SECRET_KEY"):
        Sealer("").seal(SECRET, "ep_1")
    assert "a key" not in repr(Sealer("a key"))
