"""Sign-ins that fail are slowed down, by the name that was given and by the address that they came from.

Each counts in a leaky bucket in PostgreSQL, so that all processes agree. There is a fixed number of buckets, which
bounds what strangers can make us store; names and addresses find theirs by a keyed hash, so that nobody outside can
choose whose bucket they fill.
"""

from __future__ import annotations

import hashlib
import hmac
from ipaddress import IPv6Address, ip_address

from sqlalchemy import Connection

from app.core import sealing
from app.core.problem import Problem

_PURPOSE = "throttling sign-ins"
BUCKETS = 65_536  # of each kind: some MB of rows when every one is in use
NAME, ADDRESS = "name", "address"
# How many wrong passwords a bucket holds. A person mistypes a few times; an office behind one address is many people.
CAPACITY = {NAME: 10, ADDRESS: 30}
# One flows out in so many seconds: someone who guesses gets 1,440 tries a day for a name.
SECONDS_EACH = 60

# Count an attempt before its password is looked at, so that attempts that come together cannot all pass. A full bucket
# stays as it is and answers nothing: whoever waits gets in, however many others try meanwhile.
COUNT = """
INSERT INTO sign_in_buckets AS b (kind, bucket, level, counted_at) VALUES (%(kind)s, %(bucket)s, 1, now())
ON CONFLICT (kind, bucket) DO UPDATE SET counted_at = now(),
  level = greatest(0, b.level - extract(epoch FROM now() - b.counted_at) / %(each)s) + 1
WHERE greatest(0, b.level - extract(epoch FROM now() - b.counted_at) / %(each)s) + 1 <= %(capacity)s
RETURNING level
"""

# Take an attempt back that turned out to be right; the name's own wrong ones are forgotten with it.
FORGIVE = """
UPDATE sign_in_buckets SET level = CASE WHEN kind = 'name' THEN 0 ELSE greatest(0, level - 1) END
WHERE kind = %(kind)s AND bucket = %(bucket)s
"""


def count(connection: Connection, secret_key: str, name: str, address: str) -> None:
    """Count one attempt to sign in. Raises Problem too_many when there have been too many wrong ones."""
    for kind, text in _kinds(name, address):
        values = {
            "kind": kind,
            "bucket": _bucket(secret_key, kind, text),
            "each": SECONDS_EACH,
            "capacity": CAPACITY[kind],
        }
        if connection.exec_driver_sql(COUNT, values).scalar() is None:
            text = "Too many wrong passwords were tried with this name or from this address. Wait a minute, then retry."
            raise Problem("too_many", text, retry_after_seconds=SECONDS_EACH)


def forgive(connection: Connection, secret_key: str, name: str, address: str | None = None) -> None:
    """An attempt that was counted was right. address None: forget a name's wrong passwords, wherever they came from."""
    for kind, text in _kinds(name, address):
        connection.exec_driver_sql(FORGIVE, {"kind": kind, "bucket": _bucket(secret_key, kind, text)})


def _kinds(name: str, address: str | None) -> list[tuple[str, str]]:
    return [(NAME, name), *([] if address is None else [(ADDRESS, _network(address))])]


def _network(address: str) -> str:
    """An IPv6 subscriber has at least a /64 (RFC 6177): all of it is one address."""
    try:
        found = ip_address(address)
    except ValueError:
        return address
    if isinstance(found, IPv6Address) and found.ipv4_mapped is None:
        return str(int(found) >> 64)
    return address


def _bucket(secret_key: str, kind: str, text: str) -> int:
    key = sealing.derive(secret_key, _PURPOSE)
    made = hmac.new(key, f"{kind}:{text}".encode("utf-8", "replace"), hashlib.sha256).digest()
    return int.from_bytes(made[:8], "big") % BUCKETS
