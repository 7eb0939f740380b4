"""Where a local run keeps its files and listens, and the environment that its processes get."""

from __future__ import annotations

import secrets
import socket
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from app.local import children, procfile
from app.local.private_file import write_private
from app.project import var_directory

LOOPBACK = "127.0.0.0/8,::1/128"  # a local run may send webhooks to this machine
# Celery warns in many lines when it runs as root, as it does in most containers. Here those would bury what is printed
# at the start; `twofold worker` by itself still says them.
NO_ROOT_WARNING = "ignore:You're running the worker with superuser privileges"
EVERYWHERE = ("", "0.0.0.0", "::")


class RunError(Exception):
    """The run cannot go on; the text is for the user."""


@dataclass(frozen=True)
class Place:
    """Where this run keeps its files and where it listens."""

    directory: Path
    host: str
    port: int

    @property
    def base_url(self) -> str:
        """The address for clients on this machine."""
        host = "127.0.0.1" if self.host in EVERYWHERE else self.host
        return f"http://{host}:{self.port}"


def place_from(environ: Mapping[str, str]) -> Place:
    """TWOFOLD_VAR, HOST and PORT as a Place. Raises RunError for a port that is none."""
    text = environ.get("PORT") or "8000"
    if not text.isascii() or not text.isdigit() or not 0 < int(text) < 65536:
        raise RunError(f"PORT is {text!r}; give a number from 1 to 65535, such as PORT=8001")
    return Place(var_directory(environ), environ.get("HOST", ""), int(text))


def check_port(place: Place) -> None:
    """Raises RunError when the port cannot be had."""
    family = socket.AF_INET6 if ":" in place.host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as gunicorn does
        try:
            probe.bind((place.host or "127.0.0.1", place.port))
        except OSError as error:
            raise RunError(
                f"Port {place.port} cannot be used: {error.strerror}.\n"
                f"Stop the program that has it, or choose another port: PORT={place.port % 65535 + 1} make run"
            ) from None


def child_environment(environ: Mapping[str, str], place: Place, urls: Mapping[str, str]) -> dict[str, str]:
    """The environment of the Procfile's processes: ours, what a local run adds, and the engines' addresses."""
    made = procfile.environment(environ)
    made.pop("BIND", None)
    made |= urls
    made |= {"PORT": str(place.port), "HOST": place.host, "PYTHONUNBUFFERED": "1"}
    made["PYTHONWARNINGS"] = ",".join(filter(None, [environ.get("PYTHONWARNINGS"), NO_ROOT_WARNING]))
    made[children.RUN_MARK] = str(place.directory)
    made.setdefault("ALLOW_SUBNETS", LOOPBACK)  # an empty value counts as set
    made["PUBLIC_URL"] = environ.get("PUBLIC_URL") or place.base_url
    made["SECRET_KEY"] = environ.get("SECRET_KEY") or _kept_secret(place.directory / "secret_key")
    return made


def _kept_secret(path: Path) -> str:
    """The SECRET_KEY of this directory, made at first use. Losing it loses the webhook secrets."""
    with suppress(FileNotFoundError):
        return path.read_text().strip()
    write_private(path, secrets.token_hex(32) + "\n")
    return path.read_text().strip()
