"""What the hub reads from PostgreSQL, as an interface: the hub does not know the database."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from app.core.wire.envelope import Event


@dataclass(frozen=True, slots=True)
class Head:
    """How far a stream has come: the seq of its last committed event, whether it has ended and how long ago, and
    whether an event that may follow the end has come. epoch: of the log's history."""

    last_seq: int
    ended: bool
    ended_seconds: float = 0.0
    late_came: bool = False
    epoch: int = 0


class StreamSource(Protocol):
    """Each call is one short query. Streams are named by their row ids; an absent one is left out of the answer
    where nothing else is said."""

    def heads(self, stream_ids: Sequence[int]) -> Mapping[int, Head]:
        """How far each stream has come."""

    def moved(self, known: Mapping[int, int], epoch: int) -> Mapping[int, Head | None]:
        """Of some streams, each with the seq up to which it is known in this history, those that are elsewhere or have
        ended; None for one that is gone."""

    def events_after(self, after: Mapping[int, int]) -> Mapping[int, list[Event]]:
        """For each stream the next page of events after a seq, in order."""

    def dead_credentials(self, key_ids: Sequence[str], token_ids: Sequence[str]) -> set[str]:
        """Those of these keys and tokens that are revoked or gone."""
