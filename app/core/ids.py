"""Public identifiers: a prefix and 26 characters that sort by time.

Layout after the prefix (128 bits, as in the ULID specification): 48 bits of Unix milliseconds, then
80 random bits, written in Crockford's base 32, lower case. The milliseconds are the row's `created_at`,
so an id alone names the weekly partition that holds its row.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"  # Crockford: no i, l, o, u
LENGTH = 26  # ceil(128 / 5)
RANDOM_BYTES = 10
_VALUE = {letter: number for number, letter in enumerate(ALPHABET)}
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

EVENT, ENDPOINT, DELIVERY, ATTEMPT, WORKSPACE, KEY, TOKEN, SESSION, USER, PORTAL_LINK, BULK_RETRY, BATCH = (
    "evt",
    "ep",
    "dlv",
    "att",
    "ws",
    "key",
    "tok",
    "ses",
    "usr",
    "plk",
    "blk",
    "bat",
)


def milliseconds(moment: datetime) -> int:
    """Whole milliseconds since the Unix epoch of an aware datetime, rounded down."""
    return (moment - _EPOCH) // timedelta(milliseconds=1)


def truncate(moment: datetime) -> datetime:
    """The moment at millisecond precision, as an id keeps it."""
    return _EPOCH + timedelta(milliseconds=milliseconds(moment))


def make(prefix: str, moment: datetime, random: bytes) -> str:
    """An id for a row created at `moment`.

    prefix: one of the constants above; random: exactly 10 bytes. Raises ValueError for other lengths.
    """
    if len(random) != RANDOM_BYTES:
        raise ValueError(f"an id takes {RANDOM_BYTES} random bytes, not {len(random)}")
    number = (milliseconds(moment) << 80) | int.from_bytes(random, "big")
    letters = [ALPHABET[(number >> shift) & 31] for shift in range(125, -1, -5)]
    return f"{prefix}_{''.join(letters)}"


def pattern(prefix: str) -> str:
    """A regular expression for the form that `is_id` tells, to be matched as a whole."""
    return f"{prefix}_[0-7][{ALPHABET}]{{{LENGTH - 1}}}"


def is_id(prefix: str, text: str) -> bool:
    """Whether `text` has the form of an id with this prefix (says nothing of whether it exists)."""
    head, _, tail = text.partition("_")
    return (
        head == prefix
        and len(tail) == LENGTH
        and tail[0] in "01234567"  # 26 letters hold 130 bits: the first letter has 3 of 5
        and all(letter in _VALUE for letter in tail)
    )


def created_at_of(text: str) -> datetime:
    """The creation time (UTC, milliseconds) that an id carries. Raises ValueError for another form."""
    prefix, _, tail = text.partition("_")
    if not is_id(prefix, text):
        raise ValueError("not an id")
    number = 0
    for letter in tail:
        number = (number << 5) | _VALUE[letter]
    try:
        return _EPOCH + timedelta(milliseconds=number >> 80)
    except OverflowError:  # a well-formed id of the year 10000 or later names no row
        raise ValueError("not an id of this era") from None
