"""One event as each kind of contract frames it: the bytes, with the producer's spelling kept."""

from __future__ import annotations

import json

import pytest
from wsproto.frame_protocol import FrameProtocol

from app.core.contract import frames
from app.core.contract.frames import View
from app.core.contract.model import ContractRoute, Fixed, FrameForm, Hidden
from app.core.wire import envelope
from app.core.wire.envelope import Event

FIDELITY = '{"b":1,"a":1.0,"n":12345678901234567890,"e":1e400,"s":"\\u2028é😀"}'
MEMBERS = (("event_type", "$type"), ("event_id", "$id"), ("timestamp", "$timestamp"), ("call_id", "$stream_id"))
FLAT = FrameForm(event=False, id=False, data="flat", members=MEMBERS)
PAYLOAD = FrameForm(event=True, id=True, data="payload")
ENVELOPE = FrameForm(event=True, id=True, data="envelope")
TYPED_ENVELOPE = FrameForm(event=False, id=False, data="envelope", members=(("event_type", "$type"),))


def event(data: str, type: str = "call.note") -> Event:
    body = envelope.encode(
        id="evt_1",
        type=type,
        timestamp="2026-11-20T10:00:00.123Z",
        workspace_id="ws_1",
        kind="call",
        stream_id="call_1",
        seq=42,
        data=data,
    )
    return Event("evt_1", 42, type, "2026-11-20T10:00:00.123Z", body)


def line(frame: FrameForm, data: str) -> str:
    return frames.data_line(frame, event(data), "call_1").decode()


HEAD = '{"event_type":"call.note","event_id":"evt_1","timestamp":"2026-11-20T10:00:00.123Z","call_id":"call_1"'


@pytest.mark.parametrize("data", ["{}", FIDELITY, '{"a":1,"a":2}', '{"s":"\u2028\x85"}', '{"\\ud800":"\\ud83d"}'])
def test_a_payload_frame_is_the_producers_own_text(data: str) -> None:
    assert line(PAYLOAD, data) == data


@pytest.mark.parametrize("data", ["{}", FIDELITY, '{"\\ud800":1}'])
def test_an_envelope_frame_is_the_stored_body(data: str) -> None:
    assert line(ENVELOPE, data).encode() == event(data).body
    assert line(TYPED_ENVELOPE, data).encode() == b'{"event_type":"call.note",' + event(data).body[1:]


@pytest.mark.parametrize(
    ("data", "rest"),
    [
        ("{}", ""),
        (FIDELITY, FIDELITY[1:-1]),
        ('{"call_id":"forged"}', ""),
        ('{"a":1,"call_id":"forged","b":2.50}', '"a":1,"b":2.50'),
        ('{"event_type":{"x":[1]},"event_id":0,"timestamp":null,"call_id":[],"z":0}', '"z":0'),
        ('{"\\u0063all_id":"forged","é":1}', '"é":1'),
        ('{"call\\u005Fid":"forged","\\u00e9":1}', '"\\u00e9":1'),  # what is kept stays spelled as it was
        ('{"\\ud800":1}', '"\\ud800":1'),
        ('{"\\ud800":1,"call_id":2,"n":1e400}', '"\\ud800":1,"n":1e400'),
        ('{"a":{"call_id":"inner"}}', '"a":{"call_id":"inner"}'),
        ('{"a":"\\"call_id\\":1"}', '"a":"\\"call_id\\":1"'),
        ('{"a":[{"event_type":1}],"event_type":2}', '"a":[{"event_type":1}]'),
        ('{"Call_id":1,"call_id ":2}', '"Call_id":1,"call_id ":2'),
        ('{"call_id":1,"call_id":2,"x":3,"x":4}', '"x":3,"x":4'),
    ],
)
def test_a_flat_frame_puts_its_members_first_and_they_win(data: str, rest: str) -> None:
    flat = line(FLAT, data)
    assert flat == HEAD + ("," + rest if rest else "") + "}"
    pairs = json.loads(flat, object_pairs_hook=list)
    assert [name for name, _ in pairs[:4]] == [name for name, _ in MEMBERS]
    assert not {name for name, _ in pairs[4:]} & {name for name, _ in MEMBERS}


def test_members_may_be_literals_and_the_seq() -> None:
    frame = FrameForm(False, False, "flat", (("v", "1"), ("n", "$seq"), ('q"uote', "é\n")))
    assert line(frame, '{"v":2}') == '{"v":"1","n":"42","q\\"uote":"é\\n"}'


def test_a_flat_frame_without_members_is_the_payload() -> None:
    assert line(FrameForm(False, False, "flat"), FIDELITY) == FIDELITY


def view(frame: FrameForm, wrap: str = "raw", **changed: object) -> View:
    given: dict[str, object] = {"shown": None, "wanted": None, "hidden": ()} | changed
    return View(frame, wrap, **given)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("frame", "wire"),
    [
        (PAYLOAD, 'event: call.note\nid: 42\ndata: {"a":1}\n\n'),
        (FrameForm(True, False, "payload"), 'event: call.note\ndata: {"a":1}\n\n'),
        (FrameForm(False, True, "payload"), 'id: 42\ndata: {"a":1}\n\n'),
        (FLAT, "data: " + HEAD + ',"a":1}\n\n'),
    ],
)
def test_the_bytes_of_a_frame(frame: FrameForm, wire: str) -> None:
    assert frames.encode(view(frame), event('{"a":1}'), "call_1") == wire.encode()
    chunked = frames.encode(view(frame, "chunk"), event('{"a":1}'), "call_1")
    assert chunked == b"%x\r\n%s\r\n" % (len(wire), wire.encode())


def test_a_websocket_frame_carries_the_data_alone() -> None:
    protocol = FrameProtocol(client=True, extensions=[])
    protocol.receive_bytes(frames.encode(view(PAYLOAD, "ws"), event(FIDELITY), "call_1"))
    assert [frame.payload for frame in protocol.received_frames()] == [FIDELITY]


@pytest.mark.parametrize("frame", [PAYLOAD, ENVELOPE, FLAT, TYPED_ENVELOPE])
def test_a_frame_has_exactly_one_data_line(frame: FrameForm) -> None:
    data = '{"s":"a\\r\\nid: 7\\n\\ndata: x","t":"\u2028\u2029\x85","\\u000a":1,"call_id":"\\n"}'
    wire = frames.encode(view(frame), event(data), "call_1")
    assert wire.count(b"\ndata: ") + wire.startswith(b"data: ") == 1
    assert wire.endswith(b"\n\n")
    assert wire[:-2].count(b"\n") == (2 if frame.event else 0)
    assert b"\r" not in wire


@pytest.mark.parametrize(
    ("changed", "type", "shows"),
    [
        ({}, "call.note", True),
        ({"shown": ("call.transcript",)}, "call.transcript", True),
        ({"shown": ("call.transcript",)}, "call.transcript.final", False),
        ({"wanted": ("call.*",)}, "call.note", True),
        ({"wanted": ("call.*",)}, "call", False),
        ({"wanted": ("a", "b")}, "b", True),
        ({"wanted": ("*",), "hidden": ("call.barge_in",)}, "call.barge_in", False),
        ({"wanted": ("*",), "hidden": ("call.barge_in",)}, "call.idle", True),
        ({"shown": ("a",), "wanted": ("b",)}, "a", False),
        ({"shown": ("a",), "wanted": ("b",)}, "b", False),
        ({"hidden": ("call.*",)}, "call.x", False),
    ],
)
def test_which_types_a_view_shows(changed: dict[str, object], type: str, shows: bool) -> None:
    assert view(PAYLOAD, **changed).shows(type) is shows


def route(hidden: tuple[Hidden, ...]) -> ContractRoute:
    empty: dict[str, object] = dict.fromkeys(ContractRoute.__slots__)
    return ContractRoute(**(empty | {"frame": PAYLOAD, "types": None, "hidden": hidden}))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("attributes", "hidden"),
    [
        ({}, ("always",)),
        ({"transport": "webrtc"}, ("call.barge_in", "always")),
        ({"transport": "sip"}, ("always",)),
        ({"transport": ["webrtc"]}, ("always",)),
        ({"other": "webrtc"}, ("always",)),
    ],
)
def test_what_is_hidden_depends_on_the_streams_attributes(attributes: dict[str, object], hidden: tuple[str]) -> None:
    rules = (Hidden("call.barge_in", "transport", "webrtc"), Hidden("always", None, None))
    assert frames.view(route(rules), "raw", attributes, None).hidden == hidden


def test_a_fixed_frame_is_a_filled_template() -> None:
    fixed = Fixed("close", '{"reason": "session_ended", "at": "$now", "list": ["$now", 1, null], "odd": "$unknown"}')
    values = {"now": 'é"\n'}
    expected = '{"reason":"session_ended","at":"é\\"\\n","list":["é\\"\\n",1,null],"odd":"$unknown"}'
    assert frames.fixed_data(fixed.data, values).decode() == expected
