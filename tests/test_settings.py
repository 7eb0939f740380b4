"""Settings that make no sense are refused by name."""

from __future__ import annotations

import pytest

from app.settings import Settings, SettingsError

ENVIRON = {"DATABASE_URL": "postgresql://h/d", "REDIS_URL": "redis://h"}


WEAK = ["a" * 32, "ab" * 20, "short", "12341234" * 8]


@pytest.mark.parametrize(
    ("name", "secret"),
    [("SECRET_KEY", " " * 34), *((name, weak) for name in ("SECRET_KEY", "SECRET_KEY_PREVIOUS") for weak in WEAK)],
)
def test_a_secret_key_that_is_short_or_repeats_itself_is_refused(name: str, secret: str) -> None:
    with pytest.raises(SettingsError, match=f"{name} .*openssl rand"):
        Settings.from_env({**ENVIRON, "SECRET_KEY": "0123456789abcdef" * 4, name: secret})


def test_a_secret_key_of_random_digits_is_accepted() -> None:
    assert Settings.from_env({**ENVIRON, "SECRET_KEY": "9f86d081884c7d659a2feaa0c55ad015"}).secret_key


def test_a_pooler_that_works_in_another_way_is_refused() -> None:
    settings = {**ENVIRON, "SECRET_KEY": "0123456789abcdef" * 4}
    assert Settings.from_env({**settings, "DATABASE_URL": "postgresql://h/d?pooler=transaction"}).database_url
    with pytest.raises(SettingsError, match="DATABASE_URL pooler must be transaction"):
        Settings.from_env({**settings, "DATABASE_URL": "postgresql://h/d?pooler=statement"})
