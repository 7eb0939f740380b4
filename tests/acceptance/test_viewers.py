"""The viewers in examples/, run as a reader would: they open a stream, show its events and end with it."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import tomllib
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import psutil
import pytest
import requests

from tests.processes import ROOT, RunningServer, environment, eventually

VIEWERS = ROOT / "examples" / "viewers"
PYTHON = ("atoms.py", "aitronos.py", "voicebip_call.py")
SHELL = ("serveka.sh", "voicebip.sh transcript", "voicebip.sh browser", "voicebip.sh conversation")
KINDS = {"serveka.sh": "bot", "voicebip.sh conversation": "conversation", "aitronos.py": "session"}  # others: call
STATUS = {"status": "active", "previous_status": None, "error_message": None, "error_code": None}
SOMETHING: dict[str, tuple[str, dict[str, Any]]] = {
    "bot": ("participant_update", {"participants": ["Alice"]}),
    "call": ("call.transcript", {"role": "agent", "text": "Hello?"}),
    "conversation": ("conversation.mode_changed", {"from_mode": "agent", "to_mode": "human", "actor_user_id": "u_1"}),
    "session": ("status", {"session_id": "mbsess_1", "timestamp": "2025-12-11T10:00:05Z", **STATUS}),
}
INTERRUPTED = (130, -signal.SIGINT)
VOID = {"meta", "link", "input", "br"}


@dataclass
class Stream:
    """A new stream on a running server, and its producer."""

    server: RunningServer
    kind: str
    id: str = field(init=False)

    def __post_init__(self) -> None:
        self.id = f"{'mbsess' if self.kind == 'session' else self.kind}_{uuid.uuid4().hex}"
        self.ask("PUT", f"/v1/streams/{self.kind}/{self.id}", {})

    def ask(self, method: str, path: str, body: object = None) -> Any:
        """The answer of the API, which must be a good one."""
        url = self.server.base_url + path
        answer = requests.request(method, url, json=body, headers=self.server.headers, timeout=10)
        assert answer.ok, f"{method} {path}: {answer.status_code} {answer.text}"
        return answer.json() if answer.content else None

    def post(self, type: str, **data: object) -> None:
        """Post one event."""
        self.ask("POST", "/v1/events", {"stream": {"kind": self.kind, "id": self.id}, "type": type, "data": data})

    def end(self) -> None:
        """End it without an event."""
        self.ask("POST", f"/v1/streams/{self.kind}/{self.id}/end")


@dataclass
class Viewing:
    """A viewer that runs."""

    process: subprocess.Popen[bytes]
    output: Path
    said: Path

    @property
    def shown(self) -> str:
        return self.output.read_text(encoding="utf-8")

    def wait_for(self, text: str) -> None:
        """Wait until the viewer shows or says something."""
        everything: Callable[[], str] = lambda: self.shown + self.said.read_text()  # noqa: E731
        eventually(lambda: text in everything(), about=lambda: f"{text!r} in {everything()!r}")

    def end(self) -> tuple[int, str, str]:
        """Wait until it ends by itself: its status, what it showed and what it said."""
        try:
            status = self.process.wait(10)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"did not end: {self.shown!r} {self.said.read_text()!r}") from None
        return status, self.shown, self.said.read_text()


Watch = Callable[..., Viewing]


def _command(viewer: str) -> list[str]:
    name, *options = viewer.split()
    return [*([sys.executable] if name.endswith(".py") else []), str(VIEWERS / name), *options]


def _heed_interrupts() -> None:
    # Tests that run in the background of a shell have inherited that they are ignored.
    signal.signal(signal.SIGINT, signal.SIG_DFL)


@contextmanager
def _watching(directory: Path) -> Iterator[Watch]:
    started: list[Viewing] = []

    def watch(viewer: str, *options: str, **settings: str) -> Viewing:
        output, said = directory / f"{len(started)}.out", directory / f"{len(started)}.err"
        with output.open("wb") as out, said.open("wb") as err:
            process = subprocess.Popen(
                [*_command(viewer), *options],
                env=environment(settings),
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                start_new_session=True,
                preexec_fn=_heed_interrupts,
            )
        started.append(Viewing(process, output, said))
        return started[-1]

    try:
        yield watch
    finally:
        for viewing in started:
            with suppress(ProcessLookupError):
                os.killpg(viewing.process.pid, signal.SIGKILL)
            viewing.process.wait()


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Watch]:
    """A function that starts a viewer: run(viewer, *options, **settings)."""
    with _watching(tmp_path) as watch:
        yield watch


@pytest.fixture
def watch(run: Watch, server: RunningServer) -> Watch:
    """The same, for the running server: watch(viewer, *options)."""
    where = {"TWOFOLD_URL": server.base_url, "TWOFOLD_KEY": server.workspace_key}
    return lambda viewer, *options: run(viewer, *options, **where)


def frames(output: str) -> list[dict[str, Any]]:
    """What stands in the `data:` lines."""
    return [json.loads(line[6:]) for line in output.split("\n") if line.startswith("data: ")]


def test_serveka_shows_named_events_and_misses_none_when_it_is_cut(watch: Watch, server: RunningServer) -> None:
    bot = Stream(server, "bot")
    viewing = watch("serveka.sh", bot.id)
    bot.post("participant_update", participants=["Alice"])
    viewing.wait_for("Alice")
    children = psutil.Process(viewing.process.pid).children(recursive=True)
    (curl,) = [child for child in children if child.name() == "curl"]
    curl.kill()
    bot.post("transcript_segment", speaker="Alice", text="Is it “on”? \u2028", timestamp=1, is_final=True)
    viewing.wait_for("Is it")
    bot.post("bot_status", status="completed", timestamp=2)
    bot.post("recording_ready", recording_url="https://recordings.example.com/r_1.mp4")
    status, shown, _ = viewing.end()
    assert status == 0
    assert len(re.findall(r"^retry: \d+\n", shown, re.MULTILINE)) == 2, "once for each connection"
    assert re.sub(r"(?m)^retry: \d+\n", "", shown) == (
        'event: participant_update\nid: 1\ndata: {"participants":["Alice"]}\n\n'
        "event: transcript_segment\nid: 2\n"
        'data: {"speaker":"Alice","text":"Is it \\u201con\\u201d? \\u2028","timestamp":1,"is_final":true}\n\n'
        'event: bot_status\nid: 3\ndata: {"status":"completed","timestamp":2}\n\n'
        'event: recording_ready\nid: 4\ndata: {"recording_url":"https://recordings.example.com/r_1.mp4"}\n\n'
    )


@pytest.mark.parametrize("view", ["transcript", "browser"])
def test_voicebip_shows_a_transcript_until_the_call_ends(view: str, watch: Watch, server: RunningServer) -> None:
    call = Stream(server, "call")
    viewing = watch(f"voicebip.sh {view}", call.id)
    _knock(viewing, lambda: call.post("call.transcript", role="agent", text="Hello?"))
    call.post("call.idle_silence", silence_ms=3000)
    call.post("call.transcript", role="user", text="Yes, hello.")
    call.post("call.ended", reason="hangup")
    status, shown, _ = viewing.end()
    assert status == 0
    assert {frame["event_type"] for frame in frames(shown)} == {"call.transcript"}
    assert frames(shown)[-1]["data"] == {"role": "user", "text": "Yes, hello."}


def test_voicebip_shows_a_conversation_until_somebody_ends_it(watch: Watch, server: RunningServer) -> None:
    conversation = Stream(server, "conversation")
    viewing = watch("voicebip.sh conversation", conversation.id)
    message = {"message_id": "m_1", "direction": "inbound", "text": "Is it there yet?", "status": "received"}
    _knock(viewing, lambda: conversation.post("message.received", **message))
    conversation.post("conversation.mode_changed", from_mode="agent", to_mode="human", actor_user_id="user_7")
    conversation.end()
    status, shown, _ = viewing.end()
    assert status == 0
    assert frames(shown)[0]["data"] == message
    assert frames(shown)[-1]["event_type"] == "conversation.mode_changed"


def test_voicebip_call_shows_events_and_presses_keys(watch: Watch, server: RunningServer) -> None:
    call = Stream(server, "call")
    viewing = watch("voicebip_call.py", call.id, "--dtmf", "42#")
    viewing.wait_for("call.control")
    call.post("call.barge_in", at_ms=1200)
    call.post("call.ended", reason="hangup")
    status, shown, _ = viewing.end()
    assert status == 0
    assert shown == (
        '1 call.control {"type": "dtmf", "data": {"digits": "42#"}}\n'
        '2 call.barge_in {"at_ms": 1200}\n'
        '3 call.ended {"reason": "hangup"}\n'
    )


def test_atoms_shows_speech_between_opening_and_closing(watch: Watch, server: RunningServer) -> None:
    call = Stream(server, "call")
    viewing = watch("atoms.py", call.id)
    viewing.wait_for(f"Watching {call.id}")
    call.post("user_interim_transcription", interim_transcription_text="A table")
    call.post("user_transcription", user_transcription_text="A table for two.")
    # As it stands, and not escaped, which breaks naive line readers.
    stream = json.dumps({"kind": "call", "id": call.id})
    raw = f'{{"stream":{stream},"type":"tts_completed","data":{{"tts_text":"At\u2028eight?"}}}}'
    headers = {**server.headers, "Content-Type": "application/json"}
    assert requests.post(f"{server.base_url}/v1/events", raw.encode(), headers=headers, timeout=10).status_code == 202
    call.post("tts_completed", tts_text="Or nine?", tts_latency=240)
    call.post("turn_latency", latency_ms=830)
    call.post("call_end")
    status, shown, said = viewing.end()
    assert (status, said) == (0, "")
    assert shown.rstrip("\n").split("\n") == [
        f"Watching {call.id}",
        "user ...   A table",
        "user       A table for two.",
        "agent      At\u2028eight?",
        "agent      Or nine? (240 ms)",
        'turn_latency {"latency_ms": 830}',
        "call_end {}",
        "The call has ended",
    ]


def test_aitronos_shows_states_and_people_until_the_stream_closes(watch: Watch, server: RunningServer) -> None:
    session = Stream(server, "session")
    about = {"session_id": session.id, "timestamp": "2025-12-11T10:00:05Z"}
    change = {**about, "previous_status": None, "error_message": None, "error_code": None}
    viewing = watch("aitronos.py", session.id)
    _knock(viewing, lambda: session.post("status", **change, status="joining"))
    session.post("status", **about, participant_name="Alice", event="joined")
    session.post("status", **change, status="completed")
    status, shown, _ = viewing.end()
    assert status == 0
    assert shown.split("Status: joining\n")[-1] == (
        "Status: joined (Alice)\nStatus: completed\nStream closed: session_ended\n"
    )


def _knock(viewing: Viewing, post: Callable[[], None]) -> None:
    """Post until the first one is shown: what nothing is replayed to has to be there first."""

    def shown() -> bool:
        post()
        return bool(viewing.shown)

    eventually(shown, about=lambda: f"something shown; it said {viewing.said.read_text()!r}")


def test_every_viewer_says_why_it_was_refused(watch: Watch) -> None:
    absent = [watch(viewer, "mbsess_absent") for viewer in (*SHELL, *PYTHON)]
    away = [watch(viewer, "--url", "http://127.0.0.1:9", "mbsess_absent") for viewer in PYTHON]
    for viewing in absent:
        status, shown, said = viewing.end()
        assert status in (1, 22)
        assert "404" in said
        assert re.search("There is no such|Session not found", shown + said)
        assert "Traceback" not in said
    for viewing in away:
        status, _, said = viewing.end()
        assert status == 1
        assert "refused" in said
        assert "Traceback" not in said


def test_every_viewer_ends_quietly_when_it_is_interrupted(watch: Watch, server: RunningServer) -> None:
    streams = {kind: Stream(server, kind) for kind in SOMETHING}
    viewings = []
    for viewer in (*SHELL, *PYTHON):
        stream = streams[KINDS.get(viewer, "call")]
        viewings.append((watch(viewer, stream.id), stream))
    for viewing, stream in viewings:
        type, data = SOMETHING[stream.kind]
        _knock(viewing, lambda stream=stream, type=type, data=data: stream.post(type, **data))  # type: ignore[misc]
        os.killpg(viewing.process.pid, signal.SIGINT)
    for viewing, _ in viewings:
        status, _, said = viewing.end()
        assert status in INTERRUPTED, said
        assert "Traceback" not in said


def test_every_viewer_explains_itself(run: Watch) -> None:
    for viewing in [run(viewer, "--help") for viewer in (*SHELL, *PYTHON)]:
        status, shown, said = viewing.end()
        assert (status, said) == (0, "")
        assert "--url" in shown
        assert "TWOFOLD_KEY" in shown


def test_by_default_a_viewer_watches_the_newest_stream_of_the_local_run(
    run: Watch, server: RunningServer, tmp_path: Path
) -> None:
    described = {"base_url": server.base_url, "workspace_key": server.workspace_key}
    (tmp_path / "dev.json").write_text(json.dumps(described))
    session = Stream(server, "session")
    viewings = [run("aitronos.py", TWOFOLD_VAR=str(tmp_path)), run("atoms.py", TWOFOLD_VAR=str(tmp_path / "absent"))]
    viewings[0].wait_for(f"Watching session {session.id}")
    change = {"session_id": session.id, "timestamp": "x", "previous_status": None, "error_message": None}
    session.post("status", **change, error_code=None, status="failed")
    assert viewings[0].end()[:2] == (0, "Status: failed\nStream closed: session_ended\n")
    assert viewings[1].end() == (
        1, "", "Twofold is not running here. Start it with `make run`, or set TWOFOLD_URL and TWOFOLD_KEY.\n",
    )  # fmt: skip


class _Page(HTMLParser):
    """A page taken apart; fails at a tag that does not close what was opened last."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.ids: list[str] = []
        self.attributes: list[tuple[str, str, str]] = []
        self.script = ""
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.attributes += [(tag, name, value or "") for name, value in attributes]
        self.ids += [value for name, value in attributes if name == "id" and value]
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag, self.getpos()

    def handle_data(self, data: str) -> None:
        if self.open[-1:] == ["script"]:
            self.script += data


def test_the_page_is_whole_and_uses_declared_paths_and_types_alone() -> None:
    page = _Page((VIEWERS / "serveka.html").read_text(encoding="utf-8"))
    contract = tomllib.loads((ROOT / "app" / "contracts" / "serveka.toml").read_text(encoding="utf-8"))
    assert [name for _, name, _ in page.attributes if name in ("src", "href", "srcset", "action")] == []
    assert len(page.ids) == len(set(page.ids))
    assert {value for tag, name, value in page.attributes if (tag, name) == ("label", "for")} <= set(page.ids)
    assert set(re.findall(r'element\("(\w+)"\)', page.script)) <= set(page.ids)
    requested = re.findall(r"\$\{this\.base\}(/[^`]*)", page.script)
    declared = {route["path"] for route in contract["routes"] if route["does"] == "mint"}
    assert {re.sub(r"\$\{[^}]*\}", "{bot_id}", path) for path in requested} == declared
    assert re.search(r'searchParams\.set\("token", token\)', page.script)
    listened = page.script.split("const SHOWN = {\n")[1].split("\n};")[0]
    assert set(re.findall(r"^  (\w+)\(\{", listened, re.MULTILINE)) == {event["type"] for event in contract["events"]}


def test_the_readme_names_every_viewer_and_nothing_else() -> None:
    text = (ROOT / "examples" / "README.md").read_text(encoding="utf-8")
    named = set(re.findall(r"examples/viewers/([\w.]+)", text))
    assert named == {path.name for path in VIEWERS.iterdir() if path.is_file()}
