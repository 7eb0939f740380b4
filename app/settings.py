"""Every setting: read once from the environment, typed, and refused by name when it makes no sense."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

from app import failpoints
from app.core.database_url import without_pooler
from app.core.webhook import fairness, retry
from app.log_lines import JSON, TEXT

Network = IPv4Network | IPv6Network
T = TypeVar("T")

MARGIN_SECONDS = 2  # from the end of an attempt to its record: what a busy database takes for a few statements


class SettingsError(ValueError):
    """One or more settings are missing or make no sense; the text names each and says what to do."""


def _text(raw: str) -> str:
    return raw


def _whole(low: int, high: int) -> Callable[[str], int]:
    def read(raw: str) -> int:
        try:
            number = int(raw)
        except ValueError:
            raise ValueError(f"is {raw!r}, which is not a whole number") from None
        if not low <= number <= high:
            raise ValueError(f"is {number}; give a number from {low} to {high}")
        return number

    return read


def _url(*schemes: str) -> Callable[[str], str]:
    def read(raw: str) -> str:
        if urlsplit(raw).scheme not in schemes:
            raise ValueError(f"must start with {' or '.join(f'{scheme}://' for scheme in schemes)}")
        return raw.rstrip("/") if schemes[0].startswith("http") else raw

    return read


def _one_of(*words: str) -> Callable[[str], str]:
    def read(raw: str) -> str:
        if raw not in words:
            raise ValueError(f"is {raw!r}; give {' or '.join(words)}")
        return raw

    return read


def _database_url(raw: str) -> str:
    without_pooler(raw)
    return _url("postgresql", "postgres")(raw)


# 32 random hexadecimal digits have fewer than 8 different ones once in a hundred million times.
_DISTINCT_LETTERS = 8


def secret(raw: str) -> str:
    """A key that is long and varied enough; one rule for every process and command."""
    if len(raw) < 32:
        raise ValueError("is shorter than 32 characters; make one with: openssl rand -hex 32")
    if len(set(raw)) < _DISTINCT_LETTERS or not raw.strip():
        raise ValueError("repeats too few characters to be a secret; make one with: openssl rand -hex 32")
    return raw


def _secrets(raw: str) -> tuple[str, ...]:
    return tuple(secret(text) for text in _listed(raw))


def _networks(raw: str) -> tuple[Network, ...]:
    networks: list[Network] = []
    for text in _listed(raw):
        try:
            networks.append(ip_network(text))
        except ValueError:
            raise ValueError(f"has {text!r}, which is not a network such as 127.0.0.0/8") from None
    return tuple(networks)


def _listed(raw: str) -> list[str]:
    """What stands between commas."""
    return [text.strip() for text in raw.split(",") if text.strip()]


def _delays(raw: str) -> tuple[int, ...]:
    if not re.fullmatch(r"\s*\d+(\s*,\s*\d+)*\s*", raw):
        raise ValueError("must be whole seconds separated by commas, such as 5,30,120")
    return tuple(int(text) for text in _listed(raw))


# An origin as a Content-Security-Policy takes it, of letters that cannot end the directive it is written into.
_ORIGIN = re.compile(r"https?://(?:\*\.)?[a-z0-9-]+(?:\.[a-z0-9-]+)*(?::[0-9]{1,5})?")
_LOOPBACK = ("localhost", "127.0.0.1", "::1")


def _origins(raw: str) -> tuple[str, ...]:
    origins = tuple(text.lower() for text in _listed(raw))
    for origin in origins:
        if not _ORIGIN.fullmatch(origin):
            raise ValueError(f"has {origin!r}, which is not an origin such as https://app.example.com")
    return origins


def _name(raw: str) -> str:
    if not (raw.isprintable() and 0 < len(raw.strip()) <= 60):
        raise ValueError("must have 1 to 60 printable characters")
    return raw.strip()


def _colour(raw: str) -> str:
    if not re.fullmatch("#[0-9a-fA-F]{6}", raw):
        raise ValueError(f"is {raw!r}; give a colour as #rrggbb, such as #1a6755")
    return raw.lower()


def _setting(read: Callable[[str], T], default: str | None, about: str) -> Any:
    """A dataclass field that carries its own reader, default text (None: required) and description."""
    return field(metadata={"read": read, "default": default, "about": about})


@dataclass(frozen=True)
class Settings:
    """Everything that can be set. Field `database_url` is read from DATABASE_URL, and so on. Immutable."""

    database_url: str = _setting(_database_url, None, "PostgreSQL 15 or newer, as a libpq URL")
    redis_url: str = _setting(_url("redis", "rediss", "unix"), None, "Redis 6.2 or newer (or Valkey)")
    secret_key: str = _setting(secret, None, "Encrypts webhook secrets and signs stream tokens; 32 characters or more")
    secret_key_previous: tuple[str, ...] = _setting(_secrets, "", "Former SECRET_KEY values that are still accepted")
    public_url: str = _setting(_url("http", "https"), "http://127.0.0.1:8000", "The address that clients use")
    allow_subnets: tuple[Network, ...] = _setting(_networks, "", "Private networks that webhooks may reach")
    retry_delays_seconds: tuple[int, ...] = _setting(
        _delays, ",".join(map(str, retry.DELAYS_SECONDS)), "Seconds between the attempts of one delivery"
    )
    delivery_window_seconds: int = _setting(
        _whole(1, 30 * 86400), str(retry.WINDOW_SECONDS), "How long a delivery is tried"
    )
    lease_seconds: int = _setting(_whole(5, 3600), "60", "How long a claimed delivery belongs to one drain")
    disable_after_seconds: int = _setting(
        _whole(60, 365 * 86400), str(5 * 86400), "An endpoint that fails this long without a success is disabled"
    )
    send_total_seconds: int = _setting(_whole(1, 60), "15", "Total time for one attempt")
    send_connect_seconds: int = _setting(_whole(1, 60), "5", "Time to connect in one attempt")
    max_in_flight: int = _setting(
        _whole(1, fairness.MOST_MAX_IN_FLIGHT),
        str(fairness.MAX_IN_FLIGHT),
        "Most attempts in flight to one endpoint, from one worker process",
    )
    retention_days: int = _setting(_whole(1, 3650), "90", "Events, deliveries and attempts are kept this long")
    bus_shards: int = _setting(_whole(1, 64), "8", "Redis streams that announce events; as many on every machine")
    bus_maxlen: int = _setting(_whole(100, 1_000_000), "4096", "Entries kept in each of these Redis streams")
    contracts_dir: Path | None = _setting(  # noqa: RUF009 - the field() is inside
        lambda raw: Path(raw) if raw else None, "", "A folder with further contract files (*.toml)"
    )
    max_event_bytes: int = _setting(_whole(1024, 16 * 2**20), str(256 * 1024), "Largest event")
    max_batch_events: int = _setting(_whole(1, 10_000), "1000", "Most events in one request")
    max_batch_bytes: int = _setting(_whole(1024, 64 * 2**20), str(4 * 2**20), "Largest request body")
    max_json_depth: int = _setting(_whole(4, 200), "64", "Deepest nesting of a JSON body")
    max_open_streams: int = _setting(_whole(1, 10_000_000), "10000", "Open streams in one workspace")
    max_endpoints: int = _setting(_whole(1, 100_000), "1000", "Endpoints in one workspace")
    max_subscribers: int = _setting(_whole(1, 1_000_000), "10000", "Live connections of one web process")
    max_subscribers_per_workspace: int = _setting(
        _whole(1, 1_000_000), "5000", "Live connections of one workspace in one web process"
    )
    max_subscribers_per_key: int = _setting(
        _whole(1, 1_000_000), "2000", "Live connections of one key in one web process"
    )
    max_log_viewers: int = _setting(
        _whole(1, 10_000), "20", "Live views of the delivery log, for one key or workspace in one web process"
    )
    stream_token_seconds: int = _setting(_whole(5, 86400), "300", "Life of a stream token, and of a token of the feed")
    portal_link_seconds: int = _setting(_whole(5, 86400), "300", "How long a link to the customer portal may be opened")
    portal_session_seconds: int = _setting(
        _whole(60, 86400), str(4 * 3600), "How long a customer stays in the portal by one link"
    )
    portal_frame_origins: tuple[str, ...] = _setting(
        _origins, "", "Origins whose pages may show the customer portal in a frame, such as https://app.example.com"
    )
    portal_name: str = _setting(_name, "Webhooks", "What the customer portal is called, in its head and titles")
    portal_accent: str = _setting(
        _colour, "#1a6755", "The colour of buttons and links in the customer portal, as #rrggbb"
    )
    secret_overlap_seconds: int = _setting(
        _whole(0, 30 * 86400), "86400", "A rotated webhook secret still signs this long"
    )

    log_format: str = _setting(_one_of(TEXT, JSON), TEXT, "How processes write their logs: text, or json")

    @property
    def secret_keys(self) -> tuple[str, ...]:
        """SECRET_KEY, then its former values: what any of them sealed or signed is still accepted."""
        return (self.secret_key, *self.secret_key_previous)

    @classmethod
    def from_env(cls, environ: Mapping[str, str]) -> Settings:
        """Settings from an environment mapping. Raises SettingsError naming every bad or missing one."""
        values: dict[str, Any] = {}
        wrong = failpoints.complaints(environ)
        for item in fields(cls):
            name = item.name.upper()
            raw = environ.get(name) or item.metadata["default"]
            if raw is None:
                wrong.append(f"{name} is not set ({item.metadata['about']})")
                continue
            try:
                values[item.name] = item.metadata["read"](raw)
            except ValueError as error:
                wrong.append(f"{name} {error}")
        wrong = wrong or _contradictions(values)
        if wrong:
            raise SettingsError("Twofold cannot start:\n" + "\n".join(f"  - {text}" for text in wrong))
        return cls(**values)


def _contradictions(values: Mapping[str, Any]) -> list[str]:
    """What is wrong with settings that are each in order, but not together."""
    delays, window_seconds = values["retry_delays_seconds"], values["delivery_window_seconds"]
    wrong = [
        f"RETRY_DELAYS_SECONDS, DELIVERY_WINDOW_SECONDS: {text}"
        for text in retry.check_schedule(delays, window_seconds)
    ]
    public = urlsplit(values["public_url"])
    if values["portal_frame_origins"] and public.scheme != "https" and public.hostname not in _LOOPBACK:
        wrong.append(
            "PORTAL_FRAME_ORIGINS is set, but PUBLIC_URL is not https; browsers keep no cookie for a frame then"
        )
    lease_seconds, total_seconds = values["lease_seconds"], values["send_total_seconds"]
    if lease_seconds < total_seconds + MARGIN_SECONDS:
        wrong.append(
            f"LEASE_SECONDS is {lease_seconds}, but an attempt may take SEND_TOTAL_SECONDS ({total_seconds}) and"
            f" {MARGIN_SECONDS} s to be recorded; raise it, so that nothing in flight becomes due for another drain"
        )
    return wrong
