"""Plays a capture from `fixtures/`: what happens, what the client sends, and every byte that must come back.

    * stream KIND ID {attributes}      the stream exists
    * publish TYPE TIME {payload}      an event is accepted; its id is {id1}, {id2}, … from here on
    * clock SECONDS                    so much time passes
    * end                              the answer is complete here, and nothing follows
    > …                                the client's request line and headers, or (WebSocket) its frame
    < …                                the answer's status line and headers: exactly these, in any order
    everything else                    the answer's body, byte for byte, without the sizes of HTTP's chunks;
                                       for a WebSocket one frame a line: TEXT …, PING, PONG …, CLOSE code reason

Lines that begin with `#` are remarks. Random parts are named in braces: see `Names`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from tests.contracts import wire
from tests.contracts.clocked import Clock
from tests.contracts.producer import Producer

_ID = "evt_[0-7][0-9a-hjkmnp-tv-z]{25}"
# What a name stands for where it comes up first; from then on it is what was seen.
PATTERNS = {
    "token": r"eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]{43}",
    "opening_id": _ID,
    "closing_id": _ID,
    "opened_at": r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z",
    "closed_at": r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z",
    "trace_id": r"[0-9a-f]{32}",
    "date": r"[A-Z][a-z]{2}, \d\d [A-Z][a-z]{2} \d{4} \d\d:\d\d:\d\d GMT",
    "length": r"\d+",
    "retry": r"[1-5]\d{3}",
    "accept": r"[A-Za-z0-9+/]{27}=",
}
_NAME = re.compile(r"\{([a-z_]+\d*)\}")


@dataclass
class Names:
    """What the names in braces stand for, as far as it is known."""

    known: dict[str, str]

    def fill(self, text: str) -> str:
        """The text with its names replaced; every one must be known."""
        return _NAME.sub(lambda found: self.known[found[1]] if found[1] in self.known else found[0], text)

    def matches(self, expected: str, got: str) -> bool:
        """Whether the text is the expected one; learns the names that come up first."""
        first: list[str] = []

        def pattern(found: re.Match[str]) -> str:
            name = found[1]
            if name in self.known:
                return re.escape(self.known[name])
            if name in first:
                return f"(?P={name})"
            first.append(name)
            return f"(?P<{name}>{PATTERNS[name]})"

        parts = _NAME.split(expected)
        made = "".join(re.escape(part) if index % 2 == 0 else pattern(_named(part)) for index, part in enumerate(parts))
        found = re.fullmatch(made, got, re.DOTALL)
        if found:
            self.known.update(found.groupdict())
        return found is not None


def _named(name: str) -> re.Match[str]:
    found = _NAME.fullmatch(f"{{{name}}}")
    assert found is not None
    return found


@dataclass
class Player:
    """Plays one capture on a server whose clock it holds."""

    producer: Producer
    clock: Clock
    names: Names = field(init=False)
    connection: wire.Connection | None = None
    stream: tuple[str, str] = ("", "")
    published: int = 0
    expected: str = ""

    def __post_init__(self) -> None:
        self.names = Names(
            {
                "host": urlsplit(self.producer.base_url).netloc,
                "base": self.producer.base_url,
                "key": self.producer.key,
                "workspace": self.producer.server.workspace_id,
            }
        )

    def play(self, file: Path) -> None:
        """Fails unless every byte is as written."""
        try:
            self._play(file.read_text(encoding="utf-8"))
        finally:
            if self.connection is not None:
                self.connection.socket.close()

    def _play(self, text: str) -> None:
        for mark, lines in _blocks(text):
            if mark == "*":
                for line in lines:
                    self._do(*line.split(" ", 1))
            elif mark == ">":
                self._send(lines)
            elif mark == "<":
                self._head(lines)
            else:
                self._body("".join(f"{line}\n" for line in lines))

    def _do(self, what: str, rest: str = "") -> None:
        if what == "stream":
            kind, id, *attributes = rest.split(" ", 2)
            self.stream = (kind, id)
            self.producer.ask("PUT", f"/v1/streams/{kind}/{id}", {"attributes": json.loads((attributes or ["{}"])[0])})
        elif what == "publish":
            type, moment, data = rest.split(" ", 2)
            self.published += 1
            # Sent as written: payloads keep their spelling.
            kind, id = self.stream
            body = (
                f'{{"stream":{{"kind":"{kind}","id":"{id}"}},"type":"{type}","occurred_at":"{moment}","data":{data}}}'
            )
            self.names.known[f"id{self.published}"] = self.producer.post_raw(body)["id"]
        elif what == "clock":
            self.clock.move(float(rest))
            assert self.connection is not None
            self.connection.read_for(wire.QUIET_SECONDS)
        else:
            assert what == "end", what
            self._end()

    def _send(self, lines: list[str]) -> None:
        if isinstance(self.connection, wire.WebSocket) and not lines[0].startswith(("GET", "POST")):
            for line in lines:
                opcode, _, payload = line.partition(" ")
                self.connection.send({"TEXT": wire.TEXT, "PING": wire.PING}[opcode], payload.encode())
            return
        request = "".join(f"{self.names.fill(line)}\r\n" for line in lines).encode()
        if self.connection is not None:
            self.connection.socket.close()
        maker = _Upgraded if b"Upgrade: websocket" in request else wire.Connection
        self.connection = maker(self.producer.base_url, request)
        self.expected = ""

    def _head(self, lines: list[str]) -> None:
        connection = self.connection
        assert connection is not None
        connection.read_until(lambda: bool(connection.head))
        got = connection.head.decode().split("\r\n")[:-2]
        assert self.names.matches(lines[0], got[0]), f"{lines[0]!r} is {got[0]!r}"
        for line in lines[1:]:
            assert any(self.names.matches(line, header) for header in got), f"{line!r} is not in {got}"
        assert len(got) == len(lines), f"more headers than written: {got}"

    def _body(self, text: str) -> None:
        connection = self.connection
        assert connection is not None
        if not isinstance(connection, wire.WebSocket) and "event-stream" not in connection.headers["content-type"]:
            text = text.removesuffix("\n")  # JSON ends without one
        self.expected += text
        text = self.expected
        connection.read_until(
            lambda: len(self._got()) >= len(self.names.fill(text)) or self.names.matches(text, self._got())
        )
        assert self.names.matches(text, self._got()), f"expected\n{self.names.fill(text)}\ngot\n{self._got()}"

    def _end(self) -> None:
        connection = self.connection
        assert connection is not None
        if isinstance(connection, wire.WebSocket):
            connection.send(wire.CLOSE, b"\x03\xe8")
            connection.read_end()
        else:
            connection.read_to_end()
        assert self.names.matches(self.expected, self._got()), f"after the end: {self._got()[-300:]!r}"

    def _got(self) -> str:
        connection = self.connection
        if isinstance(connection, wire.WebSocket):
            return "".join(f"{frame}\n" for frame in connection.received)
        assert connection is not None
        return connection.body.decode()


class _Upgraded(wire.WebSocket):
    """A WebSocket whose handshake is given as bytes."""

    def __init__(self, base_url: str, request: bytes) -> None:
        self.received = []
        wire.Connection.__init__(self, base_url, request)


def _blocks(text: str) -> Iterator[tuple[str, list[str]]]:
    """Runs of lines with the same mark, the mark taken off. A request's or head's empty line is `>` or `<` alone."""
    mark, run = "", []
    for line in text.removesuffix("\n").split("\n"):
        if line.startswith("#"):
            continue
        now = line[:1] if line[:1] in ("*", ">", "<") else ""
        if now != mark and run:
            yield mark, run
            run = []
        mark = now
        run.append(line[1:].removeprefix(" ") if now else line)
    if run:
        yield mark, run
