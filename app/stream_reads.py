"""What the hub asks of PostgreSQL, each in a short transaction of its own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from app import streams
from app.core.envelope import Event
from app.db import Database
from app.streams import Head


class StreamReads:
    """The hub's reads over a process's database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def heads(self, stream_ids: Sequence[int]) -> Mapping[int, Head]:
        """How far each stream has come."""
        with self._database.begin() as connection:
            return streams.heads(connection, stream_ids)

    def events_after(self, after: Mapping[int, int]) -> Mapping[int, list[Event]]:
        """For each stream the page of events behind a seq."""
        with self._database.begin() as connection:
            return streams.events_after(connection, after)

    def dead_credentials(self, key_ids: Sequence[str], token_ids: Sequence[str]) -> set[str]:
        """Those of these keys and tokens that are revoked or gone."""
        with self._database.begin() as connection:
            return streams.dead_credentials(connection, key_ids, token_ids)
