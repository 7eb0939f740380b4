"""Clients that others wrote go on through a rolling restart, with nothing missing and nothing twice."""

from __future__ import annotations

import json
import shutil
from contextlib import ExitStack
from pathlib import Path

from tests.clients.live.programs import HERE, Running, build_go, run, tool
from tests.clients.live.test_following import KIND, SECONDS, post, posted, restart
from tests.contracts.producer import Producer
from tests.processes import eventually

GO = ("r3labs", "tmaxmax")
JAVASCRIPT = ("fetch-event-source", "eventsource2", "eventsource3", "eventsource4")


def test_others_go_on_through_a_rolling_restart(producer: Producer, tmp_path: Path) -> None:
    go = build_go(HERE / "others/go", tmp_path / "others-go")
    for file in (HERE / "others/javascript").iterdir():
        shutil.copy(file, tmp_path)
    run([tool("npm"), "install", "--silent", "--no-audit", "--no-fund", "--no-package-lock"], tmp_path)
    stream = producer.stream(KIND)
    url = f"{producer.base_url}/v1/streams/{KIND}/{stream}/live?after_seq=0"
    commands = {name: [str(go), name] for name in GO}
    commands |= {name: [tool("node"), str(tmp_path / "follow.mjs"), name] for name in JAVASCRIPT}
    with ExitStack() as stack:
        followers = []
        for name, command in commands.items():
            followers.append(Running(name, [*command, url, producer.key], tmp_path, tmp_path / f"{name}.out"))
            stack.callback(followers[-1].kill)

        def counts() -> dict[str, int]:
            return {follower.name: len(follower.lines) for follower in followers}

        post(producer, stream, 20)
        eventually(lambda: min(counts().values()) >= 20, SECONDS, about=counts, poll_seconds=0.2)
        restart(producer, stream)
        post(producer, stream, 20)
        expected = posted(producer, stream)
        eventually(
            lambda: min(counts().values()) >= len(expected),
            SECONDS,
            about=lambda: f"{counts()} {[follower.errors[-500:] for follower in followers]}",
            poll_seconds=0.2,
        )
        for follower in followers:
            events = [json.loads(line["data"]) for line in follower.lines if line["data"]]
            assert events == expected, follower.name
