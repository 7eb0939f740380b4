"""Secrets at rest: sealed, opened with present and previous keys, damage noticed."""

from __future__ import annotations

import pytest

from app.core.sealing import UnsealError, derive, seal, unseal

KEY, FORMER, STRANGE = "k" * 32, "f" * 32, "s" * 32
NONCE = bytes(range(12))
GOLDEN = "01000102030405060708090a0bf9d75d8fd6e67420b94a58357a4122e37b34a606b6d0"
SECRET = b"whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"


@pytest.mark.parametrize("plaintext", [SECRET, b"", b"\0" * 1000])
def test_what_was_sealed_can_be_opened(plaintext: bytes) -> None:
    sealed = seal(KEY, plaintext, NONCE)
    assert unseal([KEY], sealed) == plaintext
    assert unseal([KEY], memoryview(sealed)) == plaintext  # type: ignore[arg-type]
    assert SECRET not in sealed


def test_the_stored_form_does_not_change_between_releases() -> None:
    assert seal(KEY, b"secret", NONCE).hex() == GOLDEN
    assert unseal([KEY], bytes.fromhex(GOLDEN)) == b"secret"


def test_previous_keys_open_too() -> None:
    sealed = seal(FORMER, SECRET, NONCE)
    assert unseal([KEY, FORMER], sealed) == SECRET
    assert unseal([KEY, STRANGE, FORMER], sealed) == SECRET


@pytest.mark.parametrize("keys", [[], [STRANGE], [STRANGE, KEY + "x"]])
def test_no_other_key_opens_and_the_error_says_what_to_do(keys: list[str]) -> None:
    with pytest.raises(UnsealError, match="SECRET_KEY_PREVIOUS"):
        unseal(keys, seal(KEY, SECRET, NONCE))


@pytest.mark.parametrize("position", [0, 1, 12, 13, 20, -16, -1])
def test_any_changed_byte_is_noticed(position: int) -> None:
    damaged = bytearray(seal(KEY, SECRET, NONCE))
    damaged[position] ^= 1
    with pytest.raises(UnsealError):
        unseal([KEY], bytes(damaged))


@pytest.mark.parametrize("sealed", [b"", b"\x01", b"\x01" + b"n" * 27, b"\x02" + b"n" * 60, SECRET])
def test_what_was_never_sealed_is_refused(sealed: bytes) -> None:
    with pytest.raises(UnsealError, match="not a value sealed"):
        unseal([KEY], sealed)


@pytest.mark.parametrize("nonce", [b"", b"n" * 11, b"n" * 16])
def test_a_nonce_has_twelve_bytes(nonce: bytes) -> None:
    with pytest.raises(ValueError, match="12 bytes"):
        seal(KEY, SECRET, nonce)


def test_each_purpose_and_each_key_material_gives_its_own_key() -> None:
    keys = {derive(material, purpose) for material in (KEY, FORMER) for purpose in ("stream tokens", "console")}
    assert len(keys) == 4
    assert {len(key) for key in keys} == {32}
    assert derive(KEY, "console") == derive(KEY, "console")
