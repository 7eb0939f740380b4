"""clients/python/README.md, literally: its blocks in their order, in one program, against a running server."""

from __future__ import annotations

import io
import textwrap
import time
from threading import Thread
from types import SimpleNamespace
from typing import Any

import pytest

from app.core.webhook.signing import new_secret, sign
from tests.clients.readme import ADDRESS, blocks
from tests.processes import RunningServer, eventually
from twofold import Client, Refused


def test_the_blocks_do_what_they_say(server: RunningServer, capsys: pytest.CaptureFixture[str]) -> None:
    publish, spooled, follow, by_token, feed, consume, verify, batch, rest = (
        block.replace(ADDRESS, server.base_url).replace("call_42", "call_in_python_readme")
        for block in blocks("python", "python")
    )
    names: dict[str, Any] = {"key": server.workspace_key, "url": server.base_url, "spool": io.BytesIO()}
    with Client(server.base_url, server.workspace_key) as client:
        start = client.feed.page("latest")["cursor"]
        exec(publish, names)
        exec(spooled, names)
        names["publisher"].close()
        client.streams.end("call", "call_in_python_readme")
        exec(follow, names)
        assert capsys.readouterr().out.startswith("1 call.barge_in {")
        exec("from twofold import Stream\nimport requests\n" + by_token, names)
        assert names["stream"].url == server.base_url

        names["cursor"] = start
        reader = Thread(target=exec, args=(feed, names))
        reader.start()
        eventually(lambda: "call.barge_in" in capsys.readouterr().out)
        names["feed"].close()
        reader.join(10)
        assert not reader.is_alive()

        assert 'pages("billing")' in consume
        consume = consume.replace('pages("billing")', 'pages("billing", wait=0)')
        reader = Thread(daemon=True, target=_until_refused, args=(consume, names))
        reader.start()
        eventually(lambda: [one for one in client.consumers.each() if one["name"] == "billing" and one["committed_at"]])
        client.consumers.delete("billing")
        reader.join(10)
        assert not reader.is_alive()
        assert "evt_" in capsys.readouterr().out

        assert _returned(verify, age_seconds=0)["event"] == {"id": "evt_1"}
        assert _returned(verify, age_seconds=400)["answer"] == ("", 400)
        assert _returned(batch.replace("events =", "event ="), age_seconds=0)["event"] == [{"id": "evt_1"}]
        endpoint = client.endpoints.create("https://example.com/readme", event_types=["readme.*"])
        exec(rest, names | {"endpoint_id": endpoint["id"]})
        client.endpoints.delete(endpoint["id"])


def _until_refused(block: str, names: dict[str, Any]) -> None:
    with pytest.raises(Refused, match="not_found"):
        exec(block, names)


def _returned(block: str, age_seconds: int) -> dict[str, Any]:
    """What a handler with this block in it has returned, and its variables."""
    secret, at, body = new_secret(b"s" * 32), int(time.time()) - age_seconds, b'{"id":"evt_1"}'
    headers = {"webhook-id": "evt_1", "webhook-timestamp": str(at)}
    headers["webhook-signature"] = sign([secret], "evt_1", at, body)
    request = SimpleNamespace(headers=headers, get_data=lambda: body)
    names: dict[str, Any] = {"secret": secret, "request": request}
    handler = f"def handler():\n    global event\n{textwrap.indent(block, '    ')}"
    exec(handler, names)
    return {"answer": names["handler"](), "event": names.get("event")}
