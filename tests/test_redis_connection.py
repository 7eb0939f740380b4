"""A connection to Redis is made without looking for what is known already."""

from __future__ import annotations

from importlib import metadata

import pytest

from app.redis_connection import connect


def test_connections_are_made_without_reading_the_metadata_of_packages(monkeypatch: pytest.MonkeyPatch) -> None:
    looked: list[str] = []
    monkeypatch.setattr(metadata, "version", lambda name: looked.append(name) or "0")
    for url in ("redis://127.0.0.1:1/0", "rediss://127.0.0.1:1/0"):
        pool = connect(url, seconds=1).connection_pool
        for _ in range(3):
            pool.make_connection()
    assert looked == []
