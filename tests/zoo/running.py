"""`twofold zoo` as a process of its own, and the names that it serves."""

from __future__ import annotations

import json
import socket
from pathlib import Path
from typing import Any

import requests

from app.zoo.name_server import TYPE_A
from tests.processes import RunningProcess, environment, eventually

# Longer than any sender of a test waits for a name.
LOOK_UP_SECONDS = 20.0
ADDRESS_RECORD_BYTES = 16


class RunningZoo:
    """Started when it is made; `directory` is for its log and the certificate to trust."""

    def __init__(self, directory: Path) -> None:
        self._process = RunningProcess("zoo", "twofold zoo --json --port 0", environment({}), directory / "zoo.log")
        try:
            eventually(lambda: "\n" in self._process.log_text(), about=self._process.log_text)
        except AssertionError:
            self.stop()
            raise
        self.table: dict[str, Any] = json.loads(self._process.log_text())
        self.authority = directory / "authority.pem"
        self.authority.write_text(self.table["authority_pem"])

    def stop(self) -> None:
        """End it."""
        self._process.kill_all()

    @property
    def receivers(self) -> dict[str, dict[str, Any]]:
        """By name, as the zoo printed them."""
        return {receiver["name"]: receiver for receiver in self.table["receivers"]}

    def seen(self) -> dict[str, dict[str, Any]]:
        """By name, with what came to each so far."""
        told = requests.get(self.table["guide"], timeout=10).json()
        return {receiver["name"]: receiver for receiver in told["receivers"]}

    def look_up(self, name: str) -> list[str]:
        """The addresses that the zoo's name server has for a name. Raises OSError when there are none."""
        host, _, port = self.table["names"].partition(":")
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
            asking.settimeout(LOOK_UP_SECONDS)
            asking.sendto(question(name), (host, int(port)))
            reply = asking.recv(65_535)
        code, records = reply[3] & 15, int.from_bytes(reply[6:8])
        if code or not records:
            raise OSError(f"the name server answered {code}")
        # The records stand at the end, and each ends with its address.
        ends = [len(reply) - ADDRESS_RECORD_BYTES * left for left in reversed(range(records))]
        return [socket.inet_ntoa(reply[end - 4 : end]) for end in ends]


def question(name: str, of_type: int = TYPE_A) -> bytes:
    """A query for the addresses of a name (RFC 1035, 4.1)."""
    labels = b"".join(bytes([len(label)]) + label.encode() for label in name.split("."))
    return b"\x12\x34\x01\x00\x00\x01" + bytes(6) + labels + b"\x00" + of_type.to_bytes(2) + b"\x00\x01"
