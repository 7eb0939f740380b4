"""The database's URL, with and without a pooler."""

from __future__ import annotations

import pytest

from app.core.database_url import without_pooler


@pytest.mark.parametrize(
    ("url", "without", "is_pooled"),
    [
        ("postgresql://u:p%40@h:1/d", "postgresql://u:p%40@h:1/d", False),
        ("postgresql://u:p%40@h:1/d?pooler=transaction", "postgresql://u:p%40@h:1/d", True),
        ("postgres://h/d?sslmode=require&pooler=transaction", "postgres://h/d?sslmode=require", True),
        ("postgresql://h/pooler=x?connect_timeout=3", "postgresql://h/pooler=x?connect_timeout=3", False),
    ],
)
def test_what_libpq_is_given(url: str, without: str, is_pooled: bool) -> None:
    assert without_pooler(url) == (without, is_pooled)


@pytest.mark.parametrize("how", ["session", "", "transaction&pooler=transaction"])
def test_another_way_of_pooling_is_refused(how: str) -> None:
    with pytest.raises(ValueError, match="must be transaction"):
        without_pooler(f"postgresql://h/d?pooler={how}")
