"""Which addresses and URLs webhooks may be sent to.

The address that a socket is about to be opened to is what counts (``why_blocked``): names resolve to anything, and to
something else a second later. ``check_url`` exists to tell a customer early and in words what could never work.
Python's ``is_global`` and ``is_private`` are not used: both are wrong for this purpose.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

Network = IPv4Network | IPv6Network

# Longer than any URL that works in practice; RFC 9110, 4.1 asks for 8000 at least only of those who receive them.
MAX_URL_LENGTH = 2048

# (network, what it is, the document that says so). IPv4: everything that is not listed is the internet.
IPV4_BLOCKED = tuple(
    (IPv4Network(network), reason, source)
    for network, reason, source in (
        ("0.0.0.0/8", "this network", "RFC 791, 3.2"),
        ("10.0.0.0/8", "private", "RFC 1918"),
        ("100.64.0.0/10", "shared by carrier-grade NAT", "RFC 6598"),
        ("127.0.0.0/8", "loopback", "RFC 1122, 3.2.1.3"),
        ("168.63.129.16/32", "the Azure platform's host", "Azure: what is IP address 168.63.129.16"),
        ("169.254.0.0/16", "link-local, where clouds keep instance metadata", "RFC 3927"),
        ("172.16.0.0/12", "private", "RFC 1918"),
        ("192.0.0.0/24", "IETF protocol assignments", "RFC 6890"),
        ("192.0.2.0/24", "documentation", "RFC 5737"),
        ("192.31.196.0/24", "AS112 service", "RFC 7535"),
        ("192.52.193.0/24", "multicast tunnelling", "RFC 7450"),
        ("192.88.99.0/24", "6to4 relay", "RFC 7526"),
        ("192.168.0.0/16", "private", "RFC 1918"),
        ("192.175.48.0/24", "AS112 service", "RFC 7534"),
        ("198.18.0.0/15", "benchmarking", "RFC 2544"),
        ("198.51.100.0/24", "documentation", "RFC 5737"),
        ("203.0.113.0/24", "documentation", "RFC 5737"),
        ("224.0.0.0/4", "multicast", "RFC 5771"),
        ("240.0.0.0/4", "reserved, and broadcast", "RFC 1112, 4"),
    )
)

# IPv6: only this block is given out as global unicast (RFC 4291, 2.4; IANA). Loopback, link-local, unique local,
# multicast, IPv4-compatible (::/96) and both NAT64 prefixes (64:ff9b::/96, 64:ff9b:1::/48), which reach IPv4 addresses
# behind a translator, lie outside it.
IPV6_GLOBAL = IPv6Network("2000::/3")
# Inside it: not the internet, or a tunnel to any IPv4 address (Teredo, 2001::/32, and 6to4).
IPV6_BLOCKED = tuple(
    (IPv6Network(network), reason, source)
    for network, reason, source in (
        ("2001::/23", "IETF protocol assignments, among them Teredo", "RFC 2928, RFC 4380"),
        ("2001:db8::/32", "documentation", "RFC 3849"),
        ("2002::/16", "6to4, which leads to an IPv4 address", "RFC 3056"),
        ("2620:4f:8000::/48", "AS112 service", "RFC 7534"),
        ("3fff::/20", "documentation", "RFC 9637"),
    )
)

# What may be an address within a text: four numbers, or hexadecimal groups with two colons at least.
_ADDRESS = re.compile(r"\b\d{1,3}(?:\.\d{1,3}){3}\b|(?<![\w:])(?:[0-9a-fA-F]{0,4}:){2,7}[0-9a-fA-F.]*(?:%\w+)?")


def why_blocked(ip: str, allow: Sequence[Network] = ()) -> str | None:
    """Why no connection may be opened to this address, as a short phrase; None when it may.

    ``ip`` is an address in its usual spelling, as getaddrinfo gives it, an IPv6 one possibly with a scope (``%eth0``).
    ``allow`` are networks that are reachable although listed (ALLOW_SUBNETS).
    """
    try:
        address = _unwrapped(ip_address(ip))
    except ValueError:
        return "not an IP address"
    if any(address in network for network in allow if network.version == address.version):
        return None
    if isinstance(address, IPv4Address):
        return next((reason for network, reason, _ in IPV4_BLOCKED if address in network), None)
    if address.scope_id is not None:
        return "bound to one network interface"
    if address not in IPV6_GLOBAL:
        return "not a global unicast address"
    return next((reason for network, reason, _ in IPV6_BLOCKED if address in network), None)


def without_blocked(text: str) -> str:
    """The text with each address that is not open to the internet replaced, for people who are not to know our own."""
    return _ADDRESS.sub(lambda found: "an internal address" if _is_blocked(found[0]) else found[0], text)


def _is_blocked(text: str) -> bool:
    try:
        ip_address(text)
    except ValueError:
        return False
    return why_blocked(text) is not None


def _unwrapped(address: IPv4Address | IPv6Address) -> IPv4Address | IPv6Address:
    """An IPv4-mapped IPv6 address (::ffff:0:0/96, RFC 4291, 2.5.5.2) opens an IPv4 connection: judge that."""
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return address if mapped is None else mapped


# RFC 3986 characters only. A backslash or a space is read as different hosts by different parsers.
_NOT_URL = re.compile(r"[^\x21-\x7e]|\\")
_URL = re.compile(r"(?i:https?)://([^/?#]*)[^#]*(#)?")
_AUTHORITY = re.compile(r"(?:(?P<user>.*)@)?(?P<host>\[[^\[\]]*\]|[^:\[\]]*)(?::(?P<port>[0-9]*))?")
_LABEL = r"[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?"  # RFC 1035, 2.3.1, and the underscore that some hosts use
_HOST_NAME = re.compile(rf"(?=.{{1,254}}$){_LABEL}(?:\.{_LABEL})*\.?")


def check_url(url: str, allow: Sequence[Network] | None = None) -> list[str]:
    """What is wrong with a webhook URL, as phrases for its owner ("must …"); empty when it may be registered.

    With ``allow`` given, addresses written in the URL itself that ``why_blocked`` would refuse are refused here, in
    every spelling that resolvers accept (``127.1``, ``2130706433``, ``0x7f000001``), and so is ``localhost``.
    """
    if len(url) > MAX_URL_LENGTH:
        return [f"must not be longer than {MAX_URL_LENGTH} characters"]
    if bad := _NOT_URL.search(url):
        return [_bad_character(bad[0])]
    match = _URL.match(url)
    if not match:
        return ["must start with https:// or http://"]
    authority = _AUTHORITY.fullmatch(match[1])
    if not authority:
        return ["must have a host and perhaps a port after the slashes, as in https://example.com:8443/webhooks"]
    problems = _authority_problems(**authority.groupdict())
    if match[2]:
        problems.append("must not have a fragment (#…): it would never be sent")
    if not problems and allow is not None and (reason := _why_host_blocked(authority["host"], allow)):
        problems.append(reason)
    return problems


def name_of(url: str) -> tuple[str, int] | None:
    """The host name to look up for a webhook URL, in lower case, and its port; None when the URL holds an address, or
    this machine's name, which needs no looking up. Raises ValueError for what ``check_url`` refuses."""
    if problems := check_url(url):
        raise ValueError(f"the URL {problems[0]}")
    match = _URL.match(url)
    authority = match and _AUTHORITY.fullmatch(match[1])
    assert authority
    name = authority["host"].lower()
    if name.startswith("[") or legacy_ipv4(name) is not None or _is_localhost(name):
        return None
    return name, int(authority["port"] or (443 if url[:6].lower() == "https:" else 80))


def _is_localhost(host: str) -> bool:
    """RFC 6761, 6.3: it and all names below it are this machine."""
    name = host.lower().rstrip(".")
    return name == "localhost" or name.endswith(".localhost")


def _bad_character(character: str) -> str:
    if character == "\\":
        return "must not contain a backslash"
    if ord(character) > 0x7F:
        return "must be ASCII: write the host in its xn-- form and percent-encode the rest"
    return "must not contain spaces or control characters"


def _authority_problems(user: str | None, host: str, port: str | None) -> list[str]:
    problems = []
    if user is not None:
        problems.append("must not contain a user name or password: send them in a header instead")
    if not host:
        problems.append("must name a host")
    elif host.startswith("["):
        if not _is_ipv6(host[1:-1]):
            problems.append("must have an IPv6 address without a scope between the brackets")
    elif not _HOST_NAME.fullmatch(host):
        problems.append("must have a host name of letters, digits, hyphens and dots, or an IP address")
    elif _looks_numeric(host) and legacy_ipv4(host) is None:
        problems.append("must have a host name, or an IPv4 address of four numbers from 0 to 255")
    if port is not None and not (len(port) <= 5 and 1 <= int(port or 0) <= 65535):
        problems.append("must have a port from 1 to 65535, or none")
    return problems


def _is_ipv6(text: str) -> bool:
    try:
        return "%" not in text and bool(IPv6Address(text).packed)
    except ValueError:
        return False


def _looks_numeric(host: str) -> bool:
    """Whether resolvers may read the host as an IPv4 address: its last label is a number (WHATWG URL, 3.5)."""
    return re.fullmatch(r"[0-9]+|0[xX][0-9A-Fa-f]*", host.rstrip(".").rpartition(".")[2]) is not None


def _why_host_blocked(host: str, allow: Sequence[Network]) -> str | None:
    name = host.lower().rstrip(".")
    if _is_localhost(name):
        ip = "127.0.0.1"
    elif name.startswith("["):
        ip = name[1:-1]
    else:
        ip = str(legacy_ipv4(name) or "")
    reason = why_blocked(ip, allow) if ip else None
    if reason is None:
        return None
    # Some reasons are one word for the kind of address (loopback, private), others say more.
    what = f"a blocked address ({reason})" if " " in reason else f"a {reason} address"
    return f"resolves to {what}; see ALLOW_SUBNETS"


def legacy_ipv4(host: str) -> IPv4Address | None:
    """The address that inet_aton(3) reads: one to four parts, decimal, octal (``010``) or hexadecimal (``0x8``), the
    last filling all bytes that remain. None when the text is not such an address."""
    parts = host.rstrip(".").split(".")
    if len(parts) > 4:
        return None
    try:
        numbers = [_c_number(part) for part in parts]
        *leading, last = numbers
        if any(number > 255 for number in leading):
            return None
        packed = bytes(leading) + last.to_bytes(4 - len(leading), "big")
    except (ValueError, OverflowError):
        return None
    return IPv4Address(packed)


def _c_number(text: str) -> int:
    """A number as C writes it. Raises ValueError."""
    if not re.fullmatch(r"[0-9]+|0[xX][0-9A-Fa-f]+", text) or len(text) > 20:
        raise ValueError(text)
    if text[:2] in ("0x", "0X"):
        return int(text, 16)
    return int(text, 8) if text.startswith("0") else int(text)
