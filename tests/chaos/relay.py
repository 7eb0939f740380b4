"""A TCP relay in a process of its own, which signals let fail as networks and frozen machines do.

`python tests/chaos/relay.py LISTEN TARGET` carries connections from one address to another, each a port of 127.0.0.1 or
an ADDRESS:PORT.

SIGSTOP   a black hole: the kernel still accepts connections, and nothing passes until SIGCONT
SIGKILL   every connection breaks, and new ones are refused until there is another relay
SIGUSR1   what is open now falls silent for ever, as behind a firewall that has lost its state; the port is left to
          another relay
SIGUSR2   the next PostgreSQL transaction that carried events or attempts commits, and the answer is lost with its
          connection; the next acknowledgement of a message in a Celery broker's Redis is lost with its connection.
          Each is told by a line on standard output.
"""

from __future__ import annotations

import asyncio
import signal
import socket
import struct
import sys
from collections.abc import Callable

RESET = struct.pack("ii", 1, 0)  # SO_LINGER: close with a reset
READ_BYTES = 65_536
CUT = "cut"  # the line

# Of PostgreSQL's protocol: an error, and the end of an answer outside of any transaction.
ERROR, IDLE = b"E\x00", b"Z\x00\x00\x00\x05I"
# By what a transaction is known, in whatever statements: the type of the trial's events, and the ids of attempts.
CARRIED = (b"chaos.event", b"att_")


class Relay:
    """All connections of one port."""

    def __init__(self, target: tuple[str, int]) -> None:
        self.cuts = 0
        self.is_silent = False
        self._target = target

    async def carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Carry one connection until either side closes it."""
        try:
            target = await asyncio.open_connection(*self._target)
        except OSError:
            _break(writer)
            return
        both = Connection(self, writer, target[1])
        await asyncio.gather(
            self._pump(reader, target[1], both.from_client), self._pump(target[0], writer, both.from_server)
        )

    async def _pump(
        self, source: asyncio.StreamReader, sink: asyncio.StreamWriter, passes: Callable[[bytes], bool]
    ) -> None:
        try:
            while data := await source.read(READ_BYTES):
                if self.is_silent:
                    await asyncio.Event().wait()
                if not passes(data):
                    return
                sink.write(data)
                await sink.drain()
        except OSError:
            pass
        sink.close()


class Connection:
    """One connection's state: whether its transaction has carried anything of interest, and nothing has gone wrong."""

    def __init__(self, relay: Relay, client: asyncio.StreamWriter, server: asyncio.StreamWriter) -> None:
        self._relay, self._client, self._server = relay, client, server
        self._carries = self._fails = False

    def from_client(self, data: bytes) -> bool:
        """Whether this may pass; where it may not, the connection is broken."""
        self._carries = self._carries or any(mark in data for mark in CARRIED)
        return not (b"ZREM" in data and b"unacked_index" in data and self._is_cut())

    def from_server(self, data: bytes) -> bool:
        """The same for what comes back."""
        self._fails = self._fails or data.startswith(ERROR)
        if not data.endswith(IDLE):
            return True
        has_committed = self._carries and not self._fails
        self._carries = self._fails = False
        return not (has_committed and self._is_cut())

    def _is_cut(self) -> bool:
        """Break the connection if somebody has asked for it; whether somebody had."""
        if not self._relay.cuts:
            return False
        self._relay.cuts -= 1
        print(CUT, flush=True)
        _break(self._client)
        _break(self._server)
        return True


def _break(writer: asyncio.StreamWriter) -> None:
    connection: socket.socket = writer.get_extra_info("socket")
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
    writer.transport.abort()


def address(text: str) -> tuple[str, int]:
    """A port of 127.0.0.1, or an address and its port."""
    host, _, port = text.rpartition(":")
    return host or "127.0.0.1", int(port)


async def main(listen: tuple[str, int], target: tuple[str, int]) -> None:
    """Serve until the process is killed."""
    relay = Relay(target)
    server = await asyncio.start_server(relay.carry, *listen, backlog=512)
    loop = asyncio.get_running_loop()

    def fall_silent() -> None:
        relay.is_silent = True
        server.close()

    def cut_next() -> None:
        relay.cuts += 1

    loop.add_signal_handler(signal.SIGUSR1, fall_silent)
    loop.add_signal_handler(signal.SIGUSR2, cut_next)
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(address(sys.argv[1]), address(sys.argv[2])))
