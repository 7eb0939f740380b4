"""Where webhooks may go: every blocked network at both its edges, and URLs that are refused early."""

from __future__ import annotations

import re
from ipaddress import ip_address, ip_network

import pytest

from app.core.webhook.addresses import (
    IPV4_BLOCKED,
    IPV6_BLOCKED,
    MAX_URL_LENGTH,
    check_url,
    legacy_ipv4,
    name_of,
    why_blocked,
)

LOCAL = (ip_network("127.0.0.0/8"), ip_network("::1/128"))

PUBLIC = [
    "1.1.1.1",
    "8.8.8.8",
    "9.255.255.255",
    "11.0.0.0",
    "100.63.255.255",
    "100.128.0.0",
    "126.255.255.255",
    "128.0.0.0",
    "168.63.129.15",
    "168.63.129.17",
    "169.253.255.255",
    "169.255.0.0",
    "172.15.255.255",
    "172.32.0.0",
    "191.255.255.255",
    "192.0.1.0",
    "192.0.3.0",
    "192.167.255.255",
    "192.169.0.0",
    "198.17.255.255",
    "198.20.0.0",
    "223.255.255.255",
    "2606:4700:4700::1111",
    "2001:200::",  # the first after 2001::/23
    "2001:4860:4860::8888",
    "2001:db7:ffff:ffff:ffff:ffff:ffff:ffff",
    "2001:db9::",
    "2003::",
    "2620:4f:7fff:ffff:ffff:ffff:ffff:ffff",
    "2620:4f:8001::",
    "2000::",
    "3ffe:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
    "3fff:1000::",
    "::ffff:8.8.8.8",
]
BLOCKED = [
    ("127.0.0.1", "loopback"),
    ("10.1.2.3", "private"),
    ("169.254.169.254", "link-local, where clouds keep instance metadata"),
    ("100.100.100.200", "shared by carrier-grade NAT"),
    ("192.0.0.192", "IETF protocol assignments"),
    ("168.63.129.16", "the Azure platform's host"),
    ("255.255.255.255", "reserved, and broadcast"),
    ("0.0.0.0", "this network"),
    ("::", "not a global unicast address"),
    ("::1", "not a global unicast address"),
    ("::1%lo", "bound to one network interface"),
    ("2606:4700::1%eth0", "bound to one network interface"),
    ("::7f00:1", "not a global unicast address"),  # IPv4-compatible
    ("::ffff:127.0.0.1", "loopback"),
    ("::ffff:7f00:1", "loopback"),
    ("::ffff:10.0.0.1", "private"),
    ("::ffff:169.254.169.254", "link-local, where clouds keep instance metadata"),
    ("::ffff:0:127.0.0.1", "not a global unicast address"),  # SIIT, RFC 2765
    ("64:ff9b::7f00:1", "not a global unicast address"),  # NAT64
    ("64:ff9b::808:808", "not a global unicast address"),
    ("64:ff9b:1::a00:1", "not a global unicast address"),
    ("100::1", "not a global unicast address"),
    ("fe80::1", "not a global unicast address"),
    ("fe80::1%eth0", "bound to one network interface"),
    ("fec0::1", "not a global unicast address"),
    ("fd00:ec2::254", "not a global unicast address"),
    ("fc00::", "not a global unicast address"),
    ("ff02::1", "not a global unicast address"),
    ("5f00::1", "not a global unicast address"),
    ("4000::", "not a global unicast address"),
    ("1fff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "not a global unicast address"),
    ("2001:0:7f00:1::", "IETF protocol assignments, among them Teredo"),
    ("2002:7f00:1::", "6to4, which leads to an IPv4 address"),
    ("2002:a9fe:a9fe::1", "6to4, which leads to an IPv4 address"),
    ("", "not an IP address"),
    ("example.com", "not an IP address"),
    ("127.1", "not an IP address"),
    ("1.2.3.4 ", "not an IP address"),
]


@pytest.mark.parametrize("ip", PUBLIC)
def test_the_internet_is_reachable(ip: str) -> None:
    assert why_blocked(ip) is None


@pytest.mark.parametrize(("ip", "reason"), BLOCKED)
def test_everything_else_is_blocked_and_named(ip: str, reason: str) -> None:
    assert why_blocked(ip) == reason


@pytest.mark.parametrize(("network", "reason", "source"), [*IPV4_BLOCKED, *IPV6_BLOCKED], ids=lambda value: str(value))
def test_each_network_is_blocked_up_to_its_edges(network: object, reason: str, source: str) -> None:
    first, last = network[0], network[-1]  # type: ignore[index]
    assert why_blocked(str(first)) == why_blocked(str(last)) == reason
    assert source
    for outside in (int(first) - 1, int(last) + 1):
        if 0 <= outside < 2**first.max_prefixlen:
            assert why_blocked(str(type(first)(outside))) != reason or network.prefixlen == 4  # type: ignore[attr-defined]


def test_the_tables_are_the_agreed_ones() -> None:
    assert {str(network) for network, _, _ in IPV4_BLOCKED} == {
        *("0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12"),
        *("192.0.0.0/24", "192.0.2.0/24", "192.31.196.0/24", "192.52.193.0/24", "192.88.99.0/24", "192.168.0.0/16"),
        *("192.175.48.0/24", "198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24", "224.0.0.0/4", "240.0.0.0/4"),
        "168.63.129.16/32",
    }
    assert {str(network) for network, _, _ in IPV6_BLOCKED} == {
        *("2001::/23", "2001:db8::/32", "2002::/16", "2620:4f:8000::/48", "3fff::/20")
    }


@pytest.mark.parametrize(
    ("ip", "allowed"),
    [
        ("127.0.0.1", True),
        ("127.255.255.255", True),
        ("::ffff:127.0.0.1", True),  # it opens an IPv4 connection, so the IPv4 network counts
        ("::1", True),
        ("::2", False),
        ("10.0.0.1", False),
        ("::ffff:10.0.0.1", False),
        ("2002:7f00:1::", False),
        ("64:ff9b::7f00:1", False),
    ],
)
def test_allowed_networks_and_nothing_more_become_reachable(ip: str, allowed: bool) -> None:
    assert (why_blocked(ip, LOCAL) is None) == allowed


GOOD_URLS = [
    "https://example.com",
    "https://example.com/",
    "http://example.com:8080/a/b?c=d&e=%20",
    "HTTPS://EXAMPLE.com./hook",
    "https://xn--bcher-kva.example/",
    "https://my_host.example:65535/",
    "https://8.8.8.8/",
    "https://[2606:4700::1111]:8443/hook",
    "https://a.b.c.d.example/@handle?to=a@b",
    "https://123.example/",
    "https://example.com/" + "a" * (MAX_URL_LENGTH - 20),
    "https://" + "a" * 63 + ".example/",
]
BAD_URLS = [
    ("", "must start with"),
    ("example.com", "must start with"),
    ("//example.com/", "must start with"),
    ("ftp://example.com/", "must start with"),
    ("file:///etc/passwd", "must start with"),
    ("javascript:alert(1)", "must start with"),
    ("https:/example.com", "must start with"),
    ("https:example.com", "must start with"),
    (" https://example.com", "spaces or control"),
    ("https://example.com/\r\nX: y", "spaces or control"),
    ("https://example.com/\t", "spaces or control"),
    ("https://exa mple.com/", "spaces or control"),
    ("https://example.com/\x00", "spaces or control"),
    ("https://example.com/\x7f", "control"),
    ("http://127.0.0.1\\@example.com/", "backslash"),
    ("https://example.com\\.evil.example/", "backslash"),
    ("https://①②⑦.⓪.⓪.①/", "ASCII"),
    ("https://bücher.example/", "xn--"),
    ("https://example.com/ü", "percent-encode"),
    ("https://user@example.com/", "user name"),
    ("https://user:password@example.com/", "user name"),
    ("https://@example.com/", "user name"),
    ("https://a@b@example.com/", "user name"),
    ("https://example.com/#part", "fragment"),
    ("https://example.com#", "fragment"),
    ("https://", "name a host"),
    ("https:///hook", "name a host"),
    ("https://:443/", "name a host"),
    ("https://?a", "name a host"),
    ("https://example.com:/", "port from 1"),
    ("https://example.com:0/", "port from 1"),
    ("https://example.com:65536/", "port from 1"),
    ("https://example.com:000443/", "port from 1"),
    ("https://example.com:https/", "a host and perhaps a port"),
    ("https://example.com:80:90/", "a host and perhaps a port"),
    ("https://example.com:-1/", "a host and perhaps a port"),
    ("https://2606:4700::1111/", "a host and perhaps a port"),
    ("https://[2606:4700::1111/", "a host and perhaps a port"),
    ("https://[::1]x/", "a host and perhaps a port"),
    ("https://[1.2.3.4]/", "IPv6"),
    ("https://[]/", "IPv6"),
    ("https://[fe80::1%25eth0]/", "IPv6"),
    ("https://[v1.x]/", "IPv6"),
    ("https://exa%6dple.com/", "host name"),
    ("https://example..com/", "host name"),
    ("https://.example.com/", "host name"),
    ("https://-example.com/", "host name"),
    ("https://example-.com/", "host name"),
    ("https://ex(ample).com/", "host name"),
    ("https://./", "host name"),
    ("https://" + "a" * 64 + ".example/", "host name"),
    ("https://" + ".".join(["a" * 60] * 5) + "/", "host name"),
    ("https://1.2.3.4.5/", "four numbers"),
    ("https://256.1.1.1/", "four numbers"),
    ("https://example.1/", "four numbers"),
    ("https://08.1.1.1/", "four numbers"),
    ("https://4294967296/", "four numbers"),
    ("https://example.com/" + "a" * MAX_URL_LENGTH, "longer than 2048"),
]


@pytest.mark.parametrize("url", GOOD_URLS)
def test_ordinary_urls_may_be_registered(url: str) -> None:
    assert check_url(url) == check_url(url, ()) == []


@pytest.mark.parametrize(("url", "words"), BAD_URLS)
def test_what_could_not_work_or_could_be_misread_is_refused(url: str, words: str) -> None:
    assert words in " ".join(check_url(url))


def test_several_problems_are_told_at_once() -> None:
    assert len(check_url("https://user@:99999/#x")) == 4


@pytest.mark.parametrize(
    "host",
    [
        *("127.0.0.1", "127.1", "127.0.1", "2130706433", "0x7f000001", "0X7F.1", "0177.0.0.1", "017700000001", "0"),
        *("localhost", "LOCALHOST.", "a.localhost", "127.0.0.1.", "[::1]", "[::ffff:127.0.0.1]", "[::]"),
        *("169.254.169.254", "0xa9fea9fe", "10.1", "192.168.257", "[fd00:ec2::254]", "[64:ff9b::7f00:1]"),
    ],
)
def test_an_address_in_the_url_is_judged_in_every_spelling(host: str) -> None:
    url = f"http://{host}:8080/hook"
    problems = check_url(url, ())
    assert len(problems) == 1
    assert re.fullmatch(r"resolves to a (blocked address \(.+\)|\w+ address); see ALLOW_SUBNETS", problems[0])
    assert check_url(url) == []  # without a policy only the form is judged


@pytest.mark.parametrize(
    ("host", "words"),
    [
        ("127.1", "a loopback address"),
        ("192.168.1.1", "a private address"),
        ("100.64.0.1", "a blocked address (shared by carrier-grade NAT)"),
        ("[fe80::1]", "a blocked address (not a global unicast address)"),
    ],
)
def test_the_kind_of_address_is_named(host: str, words: str) -> None:
    assert check_url(f"http://{host}/", ()) == [f"resolves to {words}; see ALLOW_SUBNETS"]


@pytest.mark.parametrize("host", ["127.1", "localhost", "[::1]", "0x7f000001", "[::ffff:7f00:1]"])
def test_allowed_networks_may_be_registered(host: str) -> None:
    assert check_url(f"http://{host}/", LOCAL) == []


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("1.2.3.4", "1.2.3.4"),
        ("1.2.3", "1.2.0.3"),
        ("1.2.65535", "1.2.255.255"),
        ("1.16777215", "1.255.255.255"),
        ("4294967295", "255.255.255.255"),
        ("010.0x10.1", "8.16.0.1"),
        ("1.2.65536", None),
        ("1.16777216", None),
        ("1.2.3.256", None),
        ("256.1", None),
        ("1..2", None),
        ("", None),
        ("0x", None),
        ("09", None),
        ("1.2.3.4.5", None),
        ("example.com", None),
        ("-1", None),
        ("9" * 5000, None),
    ],
)
def test_legacy_spellings_are_read_as_resolvers_do(text: str, address: str | None) -> None:
    assert legacy_ipv4(text) == (address and ip_address(address))


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("https://Example.com/a", ("example.com", 443)),
        ("HTTP://example.com.:81?b", ("example.com.", 81)),
        ("http://a_b.xn--mnchen-3ya.de", ("a_b.xn--mnchen-3ya.de", 80)),
        ("http://127.1/", None),
        ("http://0x7f000001:81/", None),
        ("http://[::1]:81/", None),
        ("http://LOCALHOST.:81/", None),
        ("http://a.localhost/", None),
    ],
)
def test_a_name_has_to_be_looked_up_and_an_address_has_not(url: str, name: tuple[str, int] | None) -> None:
    assert name_of(url) == name


@pytest.mark.parametrize("url", ["http://a@example.com/", "http://127.0.0.1\\@example.com/", "ftp://a/", "http://a:0/"])
def test_a_url_that_is_refused_has_no_name(url: str) -> None:
    with pytest.raises(ValueError, match="the URL must"):
        name_of(url)
