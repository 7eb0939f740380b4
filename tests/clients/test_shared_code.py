"""What the server's wheel shares with the client package is the same code."""

from __future__ import annotations

import pytest

from tests.processes import ROOT


@pytest.mark.parametrize("name", ["parse.py", "signatures.py", "stream.py", "webhooks.py"])
def test_the_reading_half_is_the_same_in_both(name: str) -> None:
    theirs, ours = ROOT / "clients/python/twofold" / name, ROOT / "app/client" / name
    assert ours.read_bytes() == theirs.read_bytes(), f"run: cp clients/python/twofold/{name} app/client/"
