"""Servers to work with: which one a command asks, and the file that remembers them."""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from app.cli.command import CommandError, Status
from app.project import var_directory

OTHERS = stat.S_IRWXG | stat.S_IRWXO
NO_SERVER = (
    "no server is known. Start one here (twofold up), or name one: twofold profile add NAME --url URL,"
    " or TWOFOLD_URL and TWOFOLD_API_KEY"
)


@dataclass(frozen=True)
class Server:
    """Where requests go, and with what. workspace: id or uid, for a platform key; origin: who said so, in words."""

    url: str
    key: str
    workspace: str | None = None
    origin: str = ""


@dataclass(frozen=True)
class Profiles:
    """The servers by name, and the name of the one in use."""

    servers: Mapping[str, Server] = field(default_factory=dict)
    used: str | None = None

    def with_server(self, name: str, server: Server) -> Profiles:
        """With one more, or another of that name; the first is in use at once."""
        return Profiles({**self.servers, name: server}, self.used or name)

    def without(self, name: str) -> Profiles:
        """With one less. Raises CommandError."""
        self.get(name)
        rest = {known: server for known, server in self.servers.items() if known != name}
        return Profiles(rest, None if self.used == name else self.used)

    def using(self, name: str) -> Profiles:
        """With this one in use. Raises CommandError."""
        self.get(name)
        return replace(self, used=name)

    def get(self, name: str) -> Server:
        """The server of that name. Raises CommandError."""
        if name not in self.servers:
            known = ", ".join(self.servers) or "none yet"
            raise CommandError(f"there is no profile {name!r} (known: {known})", Status.USAGE)
        return self.servers[name]


def checked_url(url: str) -> str:
    """The address of a server without what may stand at its end. Raises CommandError for what is none."""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment:
        raise CommandError(f"{url!r} is not the address of a server, such as https://events.example.com", Status.USAGE)
    return url.rstrip("/")


def choose(profiles: Profiles, environ: Mapping[str, str], asked: str | None) -> Server | None:
    """The server that a command asks: the profile that was `asked` for, TWOFOLD_URL and TWOFOLD_API_KEY, the profile of
    TWOFOLD_PROFILE, the one in use. None when nobody has named one.

    An address and a key come from one place, so that no key is ever sent to another server. Raises CommandError.
    """
    url, key = environ.get("TWOFOLD_URL"), environ.get("TWOFOLD_API_KEY")
    if not asked and (url or key):
        if not url or not key:
            there, missing = ("TWOFOLD_URL", "TWOFOLD_API_KEY") if url else ("TWOFOLD_API_KEY", "TWOFOLD_URL")
            raise CommandError(f"{there} is set, but {missing} is not; set both, or neither", Status.USAGE)
        return Server(checked_url(url), key, environ.get("TWOFOLD_WORKSPACE") or None, "TWOFOLD_URL")
    name = asked or environ.get("TWOFOLD_PROFILE") or profiles.used
    return replace(profiles.get(name), origin=f"profile {name}") if name else None


def local_server(environ: Mapping[str, str], *, platform: bool) -> Server | None:
    """The local run's server, while it runs. platform: with its platform key rather than its workspace's."""
    found = described_run(environ)
    if found is None:
        return None
    key = "platform_key" if platform else "workspace_key"
    return Server(found["base_url"], found[key], origin="the local run") if key in found else None


def described_run(environ: Mapping[str, str]) -> dict[str, Any] | None:
    """What dev.json says of the local run; None when there is none."""
    try:
        found = json.loads((var_directory(environ) / "dev.json").read_text())
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) and "base_url" in found else None


def place(environ: Mapping[str, str]) -> Path:
    """The file of profiles: TWOFOLD_CONFIG, else twofold/profiles.json where this user's settings are."""
    if given := environ.get("TWOFOLD_CONFIG"):
        return Path(given)
    return Path(environ.get("XDG_CONFIG_HOME") or Path.home() / ".config") / "twofold" / "profiles.json"


def read(path: Path) -> Profiles:
    """The profiles in a file; none when there is no file. Raises CommandError for one that others may read."""
    try:
        with path.open(encoding="utf-8") as file:
            if os.fstat(file.fileno()).st_mode & OTHERS:
                raise CommandError(f"{path} holds keys and other users may read it; mend it: chmod 600 {path}")
            known = json.load(file)
        servers = {name: Server(one["url"], one["key"], one.get("workspace")) for name, one in known["servers"].items()}
        used = known.get("used")
        return Profiles(servers, used if used in servers else None)
    except FileNotFoundError:
        return Profiles()
    except (ValueError, KeyError, TypeError, AttributeError):
        raise CommandError(f"{path} is not a file of profiles; mend it, or remove it and add them again") from None


def write(path: Path, profiles: Profiles) -> None:
    """Replace the file by these profiles, readable by its owner alone. Raises OSError."""
    from app.local.private_file import write_private

    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    servers = {name: asdict(server) for name, server in profiles.servers.items()}
    for server in servers.values():
        del server["origin"]
    write_private(path, json.dumps({"used": profiles.used, "servers": servers}, indent=2) + "\n")
