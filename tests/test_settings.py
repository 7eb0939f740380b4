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


GOOD = {**ENVIRON, "SECRET_KEY": "9f86d081884c7d659a2feaa0c55ad015", "PUBLIC_URL": "https://hooks.example.com"}


@pytest.mark.parametrize(
    "origin",
    ["https://a.example; script-src *", "https://a.example/path", "'self'", "*", "https://", "https://a b.example",
     "ftp://a.example", "https://a.example:x", "https://a.*.example", "https://u@a.example"],
)  # fmt: skip
def test_what_is_no_origin_cannot_frame_the_portal(origin: str) -> None:
    with pytest.raises(SettingsError, match=r"PORTAL_FRAME_ORIGINS has .*not an origin"):
        Settings.from_env({**GOOD, "PORTAL_FRAME_ORIGINS": f"https://good.example, {origin}"})


def test_origins_that_may_frame_the_portal_are_read() -> None:
    given = "https://App.example.com, https://*.example.org:8443 ,http://localhost:3000"
    expected = ("https://app.example.com", "https://*.example.org:8443", "http://localhost:3000")
    assert Settings.from_env({**GOOD, "PORTAL_FRAME_ORIGINS": given}).portal_frame_origins == expected


@pytest.mark.parametrize(("url", "is_good"), [("http://hooks.example.com", False), ("http://127.0.0.1:8000", True)])
def test_a_framed_portal_needs_https_but_on_the_machine_itself(url: str, is_good: bool) -> None:
    environ = {**GOOD, "PUBLIC_URL": url, "PORTAL_FRAME_ORIGINS": "https://app.example.com"}
    if is_good:
        assert Settings.from_env(environ).public_url == url
    else:
        with pytest.raises(SettingsError, match="PORTAL_FRAME_ORIGINS is set, but PUBLIC_URL is not https"):
            Settings.from_env(environ)


@pytest.mark.parametrize(
    ("name", "value"),
    [("PORTAL_ACCENT", "red"), ("PORTAL_ACCENT", "#fff"), ("PORTAL_ACCENT", "#12345g"), ("PORTAL_ACCENT", "#123456;"),
     ("PORTAL_NAME", "x" * 61), ("PORTAL_NAME", "a\nb"), ("PORTAL_NAME", "  "), ("PORTAL_SESSION_SECONDS", "90000")],
)  # fmt: skip
def test_a_look_of_the_portal_that_makes_no_sense_is_refused(name: str, value: str) -> None:
    with pytest.raises(SettingsError, match=name):
        Settings.from_env({**GOOD, name: value})
