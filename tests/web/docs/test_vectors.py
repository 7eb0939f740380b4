"""The clients' test vectors are served to whoever writes one."""

from __future__ import annotations

from flask import Flask

from clients import make_vectors


def test_it_is_served_and_may_be_kept(documented: Flask) -> None:
    client = documented.test_client()
    answer = client.get("/.well-known/twofold/vectors.json")
    assert (answer.status_code, answer.content_type) == (200, "application/json")
    assert answer.get_data() == make_vectors.FILE.read_bytes()
    assert answer.headers["Cache-Control"] == "public, max-age=3600"
    again = client.get("/.well-known/twofold/vectors.json", headers={"If-None-Match": answer.headers["ETag"]})
    assert (again.status_code, again.get_data()) == (304, b"")
