"""The vectors that all client packages are tried with: made by the server's own functions."""

from __future__ import annotations

from clients import make_vectors


def test_the_file_is_what_the_server_s_functions_make() -> None:
    assert make_vectors.FILE.read_text(encoding="utf-8") == make_vectors.text(), "run: python -m clients.make_vectors"
