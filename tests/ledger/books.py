"""A ledger over a real database, and what the tests look at afterwards."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from sqlalchemy import Row

from app.accounts.workspaces import create_workspace
from app.core.event.acceptance import Accepted
from app.core.event.drafts import Draft
from app.core.event.names import OWN_KIND
from app.core.problem import Problem, complaint
from app.core.wire.envelope import Announcement
from app.database.connection import Database
from app.delivery import endpoints
from app.ledger.ledger import Ledger, Submission
from app.settings import Settings

Answer = Accepted | Problem


def draft(
    stream_id: str = "one", *, type: str = "note", data: str = "{}", key: str | None = None, at: Any = None
) -> Draft:
    return Draft("call", stream_id, type, data, json.loads(data), at, key)


class Books:
    """A workspace and a ledger. An event `end` ends its stream, which then takes `late` alone; the schema refuses the
    type `bad`."""

    def __init__(self, database: Database, **changed: Any) -> None:
        self.database = database
        self.announced: list[Announcement] = []
        self.rung = 0
        self._databases: list[Database] = []
        self.workspace_id = self.workspace()
        self.ledger = self.another_ledger(**changed)

    def workspace(self) -> str:
        """A further workspace; its id."""
        with self.database.session() as session:
            return create_workspace(session, uid=None, name="Test").id

    def another_ledger(self, *, through: Database | None = None, **changed: Any) -> Ledger:
        """As another process has one, over connections of its own unless `through` says which."""
        options: dict[str, Any] = {"window_seconds": 86_400, "max_open_streams": 10_000} | changed
        if through is None:
            through = Database(self.database.url)
            self._databases.append(through)
        return Ledger(
            through,
            ends=lambda kind, type, data: type == "end" and kind != OWN_KIND,
            refuses=lambda kind, type, data: complaint("data.x", "is missing") if type == "bad" else None,
            late=lambda kind, type: type == "late",
            announce=self._hear,
            **options,
        )

    def close(self) -> None:
        """Close the ledgers' connections."""
        for database in self._databases:
            database.close()

    def _hear(self, announcements: Sequence[Announcement], due: bool) -> None:
        self.announced += announcements
        self.rung += due

    def accept(self, *drafts: Draft, workspace_id: str = "", only: str | None = None) -> list[Answer]:
        return self.ledger.accept(Submission(workspace_id or self.workspace_id, drafts, only))

    def outcomes(self, *drafts: Draft, **options: Any) -> list[int | str]:
        """The seq of what was accepted, the code of what was not."""
        return [one.seq if isinstance(one, Accepted) else one.code for one in self.accept(*drafts, **options)]

    def endpoint(self, settings: Settings, **wanted: Any) -> str:
        """Register an endpoint; its id."""
        workspace_id = wanted.pop("workspace_id", self.workspace_id)
        with self.database.session() as session:
            made = endpoints.create_endpoint(session, settings, workspace_id, {"url": "http://127.0.0.1:9/", **wanted})
            return made.id

    def sql(self, statement: str, **values: Any) -> Sequence[Row[Any]]:
        """Run a statement (pyformat); the rows of a SELECT."""
        with self.database.begin() as connection:
            result = connection.exec_driver_sql(statement, values)
            return result.all() if result.returns_rows else []

    def seqs(self) -> dict[str, list[int]]:
        """What is stored: external id -> seqs in order."""
        rows = self.sql("SELECT s.external_id, e.seq FROM events e JOIN streams s ON s.id = e.stream_id ORDER BY e.seq")
        found: dict[str, list[int]] = {}
        for row in rows:
            found.setdefault(row.external_id, []).append(row.seq)
        return found

    @contextmanager
    def locked(self, stream_id: str) -> Iterator[None]:
        """Hold a stream's lock: whoever accepts for it waits, and others queue up behind."""
        with self.database.begin() as connection:
            connection.exec_driver_sql("SELECT 1 FROM streams WHERE external_id = %(x)s FOR UPDATE", {"x": stream_id})
            yield


def together(count: int, act: Callable[[int], None]) -> None:
    """Run `act(number)` in so many threads that begin at the same moment; raises what any of them raised."""
    gate = threading.Barrier(count)
    errors: list[BaseException] = []

    def run(number: int) -> None:
        gate.wait()
        try:
            act(number)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=run, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
        assert not thread.is_alive()
    if errors:
        raise errors[0]
