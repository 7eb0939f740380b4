"""The guard: every socket is made here, and none to an address that webhooks must not reach.

What a URL or a name server says does not count, only the address that a socket is about to be opened to.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Sequence
from typing import Any

import pycurl

from app.core.webhook.addresses import Network, why_blocked
from app.delivery.sending.connections import RECEIVE_BUFFER_BYTES

_FAMILIES = (socket.AF_INET, socket.AF_INET6)


class Guard:
    """Makes sockets for one request at a time, and remembers what it refused."""

    def __init__(self, allow: Sequence[Network]) -> None:
        self._allow = allow
        self.clear()

    def clear(self) -> None:
        """Begin with another request."""
        self.refused: list[tuple[str, str]] = []
        """Addresses, each with the reason."""
        self.allowed: str | None = None
        """The last address for which a socket was asked for and allowed."""

    def open_socket(self, address: Any) -> Any:
        """Answer libcurl's callback: a socket, or SOCKET_BAD."""
        ip = str(address.addr[0])
        reason = why_blocked(ip, self._allow) if address.family in _FAMILIES else "not an internet address"
        if reason is not None:
            self.refused.append((ip, reason))
            return pycurl.SOCKET_BAD
        self.allowed = ip
        try:
            lent = _LentSocket(address.family, address.socktype, address.protocol)
            lent.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER_BYTES)
        except OSError:  # too many open files, or no IPv6 here: libcurl tries the next address or reports the failure
            return pycurl.SOCKET_BAD
        return lent


class _LentSocket(socket.socket):
    """pycurl duplicates the descriptor that it is given and lets go of the object: this one is closed with it."""

    def __del__(self) -> None:
        descriptor = self.detach()
        if descriptor >= 0:  # else it could not be opened at all
            os.close(descriptor)
