"""A name server (RFC 1035) over UDP for the names of the zoo; it knows nothing of any other."""

from __future__ import annotations

import socket
import threading
from contextlib import suppress

# RFC 6761, 6.2: no name ends so but in tests.
ZONE = "zoo.test"
SILENT, GONE, UNABLE = f"silent.{ZONE}", f"gone.{ZONE}", f"unable.{ZONE}"
MANY, PRIVATE, MIXED, REBINDS = f"many.{ZONE}", f"private.{ZONE}", f"mixed.{ZONE}", f"rebinds.{ZONE}"
LOOPBACK, INSIDE = "127.0.0.1", "10.0.0.1"
ADDRESSES: dict[str, tuple[str, ...]] = {
    MANY: tuple(f"127.0.1.{number}" for number in range(1, 61)),
    PRIVATE: (INSIDE,),
    MIXED: (INSIDE, LOOPBACK),
}
HEADER_BYTES = 12
ANSWERS, SERVER_FAILURE, NO_SUCH_NAME = 0, 2, 3
TYPE_A = 1


def answer(query: bytes, asked_before: bool) -> bytes | None:
    """The reply to a query; None: silence. `asked_before`: the same has been asked already.

    Raises IndexError or UnicodeDecodeError for what is no query."""
    name, of_type = question_of(query)
    code, addresses = ANSWERS, ADDRESSES.get(name, ())
    if name == SILENT:
        return None
    if name == REBINDS:
        addresses = (INSIDE if asked_before else LOOPBACK,)
    elif name == UNABLE:
        code = SERVER_FAILURE
    elif not addresses:
        code = NO_SUCH_NAME
    if of_type != TYPE_A:
        addresses = ()
    # 0x84: an answer, with authority. Names are not repeated: 0xc00c points to the one in the question.
    top = query[:2] + bytes([0x84, code, 0, 1]) + len(addresses).to_bytes(2) + bytes(4)
    records = b"".join(
        b"\xc0\x0c\x00\x01\x00\x01" + (0).to_bytes(4) + b"\x00\x04" + socket.inet_aton(address) for address in addresses
    )
    # 6: what a question has beside its name, which is written with one byte more than it has letters, and a last one.
    return top + query[HEADER_BYTES : HEADER_BYTES + len(name) + 6] + records


def question_of(query: bytes) -> tuple[str, int]:
    """The name that a query asks for, in small letters, and the type of what it wants to know of it."""
    labels, at = [], HEADER_BYTES
    while length := query[at]:
        labels.append(query[at + 1 : at + 1 + length].decode("ascii").lower())
        at += 1 + length
    return ".".join(labels), int.from_bytes(query[at + 1 : at + 3])


class NameServer:
    """Answers in a thread until it is closed."""

    def __init__(self, port: int) -> None:
        """Raises OSError when the port is taken."""
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        try:
            self._socket.bind((LOOPBACK, port))
        except OSError:
            self._socket.close()
            raise
        self.port: int = self._socket.getsockname()[1]
        self._asked: set[tuple[str, int]] = set()
        self._closed = False
        self._thread = threading.Thread(target=self._serve, name="names", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Answer nothing more."""
        self._closed = True
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as waker:
            waker.sendto(b"", (LOOPBACK, self.port))
        self._thread.join()
        self._socket.close()

    def _serve(self) -> None:
        while not self._closed:
            query, sender = self._socket.recvfrom(4096)
            with suppress(IndexError, UnicodeDecodeError, OSError):
                reply = answer(query, question_of(query) in self._asked)
                self._asked.add(question_of(query))
                if reply is not None:
                    self._socket.sendto(reply, sender)
