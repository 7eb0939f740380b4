"""The book-keeper finds each kind of broken promise, and finds nothing when all were kept."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import NamedTuple

import pytest
from standardwebhooks import Webhook

from app.client.books.bookkeeper import Bookkeeper, Receiver, Viewer
from app.client.books.count import percentile
from app.client.books.records import compact, members, without

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
CALL = ("call", "call_1")
DATA = [b'{"n":%d,"text":"\xe2\x80\xa8 \\"x\\" 1e3","big":12345678901234567890,"float":1.0}' % n for n in range(1, 6)]


class Scene(NamedTuple):
    books: Bookkeeper
    viewer: Viewer
    receiver: Receiver


def envelope(n: int, data: bytes | None = None, stream: tuple[str, str] = CALL) -> bytes:
    kind, name = (part.encode() for part in stream)
    return (
        b'{"id":"evt_%d","type":"call.note","timestamp":"2026-11-20T10:00:00.123Z","workspace_id":"ws_1",'
        b'"stream":{"kind":"%s","id":"%s"},"seq":%d,"data":%s}' % (n, kind, name, n, data or DATA[n - 1])
    )


def signed(body: bytes, webhook_id: str, secret: str = SECRET) -> dict[str, str]:
    now = datetime.now(UTC)
    return {
        "Webhook-Id": webhook_id,
        "Webhook-Timestamp": str(int(now.timestamp())),
        "Webhook-Signature": Webhook(secret).sign(webhook_id, now, body.decode()),
    }


def deliver(scene: Scene, n: int, body: bytes | None = None, secret: str = SECRET) -> bool:
    body = body or envelope(n)
    return scene.receiver.got(signed(body, f"evt_{n}", secret), body)


def show(scene: Scene, *numbers: int) -> None:
    for n in numbers:
        scene.viewer.saw(seq=n, event_id=f"evt_{n}", type="call.note", data=DATA[n - 1])


def found(scene: Scene) -> list[tuple[str, str, str]]:
    return [(finding.invariant, finding.kind, finding.subject) for finding in scene.books.findings()]


@pytest.fixture
def scene() -> Scene:
    """Five events, posted and acknowledged."""
    books = Bookkeeper(clock=iter(range(1_000_000)).__next__)
    receiver = books.receiver("customer", verify=Webhook(SECRET).verify)
    viewer = books.viewer("dashboard", CALL)
    for n, data in enumerate(DATA, 1):
        books.posting(f"key {n}", CALL, "call.note", data)
        books.acknowledged(f"key {n}", f"evt_{n}", n)
    return Scene(books, viewer, receiver)


@pytest.fixture
def kept(scene: Scene) -> Scene:
    """The same, everything seen and delivered."""
    show(scene, 1, 2, 3, 4, 5)
    for n in range(1, 6):
        assert deliver(scene, n)
    return scene


def test_nothing_is_found_when_every_promise_was_kept(kept: Scene) -> None:
    assert found(kept) == []
    assert kept.books.is_complete()
    counts = kept.books.counts()
    assert (counts["dashboard"].expected, counts["dashboard"].arrived, counts["dashboard"].missing) == (5, 5, 0)
    assert (counts["customer"].verified, counts["customer"].repeated, counts["customer"].faulty) == (5, 0, 0)
    assert len(counts["customer"].delays_seconds) == 5
    assert min(counts["customer"].delays_seconds) > 0


def test_an_identical_repeat_of_a_webhook_is_counted_and_allowed(kept: Scene) -> None:
    assert deliver(kept, 3)
    assert found(kept) == []
    assert kept.books.counts()["customer"].repeated == 1


def test_a_webhook_repeat_with_another_body_is_found(kept: Scene) -> None:
    deliver(kept, 3, envelope(3, b'{"n":3}'))
    assert found(kept) == [("I3", "changed repeat", "evt_3")]


def test_a_webhook_that_never_came_is_found_unless_the_product_says_why(scene: Scene) -> None:
    show(scene, 1, 2, 3, 4, 5)
    for n in (1, 2, 4, 5):
        deliver(scene, n)
    assert found(scene) == [("I1", "missing", "evt_3")]
    assert not scene.books.is_complete()
    scene.receiver.excuse("evt_3", "cancelled: the endpoint was deleted")
    assert found(scene) == []
    assert scene.books.is_complete()


def test_a_wrong_signature_is_found_and_is_no_delivery(kept: Scene) -> None:
    assert not deliver(kept, 3, secret="whsec_" + "A" * 32)
    assert found(kept) == [("I3", "not verified", "evt_3")]
    assert kept.books.counts()["customer"].faulty == 1


def test_an_event_that_only_came_with_a_wrong_signature_is_missing_too(scene: Scene) -> None:
    show(scene, 1, 2, 3, 4, 5)
    for n in range(1, 6):
        deliver(scene, n, secret=SECRET if n != 2 else "whsec_" + "A" * 32)
    assert found(scene) == [("I3", "not verified", "evt_2"), ("I1", "missing", "evt_2")]


def test_missing_signature_headers_are_found(kept: Scene) -> None:
    assert not kept.receiver.got({}, envelope(1))
    assert found(kept) == [("I3", "not verified", "(no webhook-id)")]


@pytest.mark.parametrize(
    "body",
    [
        envelope(3).replace(b"12345678901234567890", b"12345678901234567000"),
        envelope(3).replace(b":1.0", b":1"),
        envelope(3).replace(b"\xe2\x80\xa8", b"\\u2028"),
        envelope(3).replace(b'"seq":3', b'"seq":4'),
        envelope(3).replace(b"call.note", b"call.text"),
        envelope(3).replace(b"call_1", b"call_2"),
        envelope(3).replace(b'"id":"evt_3"', b'"id":"evt_4"'),
    ],
)
def test_a_body_that_says_something_else_than_was_posted_is_found(scene: Scene, body: bytes) -> None:
    show(scene, 1, 2, 3, 4, 5)
    for n in (1, 2, 4, 5):
        deliver(scene, n)
    assert deliver(scene, 3, body)
    assert found(scene) == [("I3", "changed", "evt_3")]


@pytest.mark.parametrize("body", [b"not json", b"[]", b'{"id":"evt_1"}', b'{"id":"evt_1","stream":7}'])
def test_a_signed_body_that_is_no_envelope_is_found(kept: Scene, body: bytes) -> None:
    verified_by_nobody = kept.books.receiver("other", verify=lambda body, headers: None, wants=lambda post: False)
    verified_by_nobody.got({"webhook-id": "evt_9"}, body)
    assert found(kept) == [("I3", "unreadable", "evt_9")]


def test_an_event_that_the_filter_does_not_want_is_found(kept: Scene) -> None:
    narrow = kept.books.receiver("narrow", verify=Webhook(SECRET).verify, wants=lambda post: post.seq == 1)
    for n in (1, 2):
        narrow.got(signed(envelope(n), f"evt_{n}"), envelope(n))
    assert found(kept) == [("I2", "unwanted", "evt_2")]


def test_a_gap_on_the_stream_is_found_and_what_was_left_out_is_missing(kept: Scene) -> None:
    late = kept.books.viewer("late", CALL, after_seq=1)
    show(kept._replace(viewer=late), 2, 4, 5)
    assert found(kept) == [("I4", "gap", "seq 3"), ("I4", "missing", "seq 3")]


def test_the_end_of_the_stream_that_never_came_is_missing(scene: Scene) -> None:
    show(scene, 1, 2, 3, 4)
    for n in range(1, 6):
        deliver(scene, n)
    assert found(scene) == [("I4", "missing", "seq 5")]
    assert not scene.books.is_complete()


def test_a_repeat_on_the_stream_is_found(kept: Scene) -> None:
    show(kept, 5)
    assert found(kept) == [("I4", "repeated", "seq 5")]
    assert kept.books.counts()["dashboard"].repeated == 1


def test_two_events_in_the_wrong_order_are_found(kept: Scene) -> None:
    other = kept.books.viewer("other", CALL)
    show(kept._replace(viewer=other), 1, 3, 2, 4, 5)
    assert found(kept) == [("I4", "gap", "seq 2"), ("I4", "out of order", "seq 2")]


def test_an_event_from_before_the_cursor_is_found(kept: Scene) -> None:
    other = kept.books.viewer("other", CALL, after_seq=2)
    show(kept._replace(viewer=other), 2, 3, 4, 5)
    assert found(kept) == [("I4", "out of order", "seq 2")]


def test_a_changed_payload_type_or_id_on_the_stream_is_found(kept: Scene) -> None:
    other = kept.books.viewer("other", CALL, after_seq=2)
    other.saw(seq=3, event_id="evt_3", type="call.note", data=DATA[2].replace(b"1.0", b"1"))
    other.saw(seq=4, event_id="evt_4", type="call.text", data=DATA[3])
    other.saw(seq=5, event_id="evt_55", type="call.note", data=DATA[4])
    assert found(kept) == [("I4", "changed", f"seq {n}") for n in (3, 4, 5)]


def test_what_a_cut_left_out_is_excused_but_only_up_to_the_next_event(kept: Scene) -> None:
    lossy = kept.books.viewer("lossy", CALL)
    scene = kept._replace(viewer=lossy)
    show(scene, 1)
    lossy.cut("no replay in this contract")
    show(scene, 3)
    assert not kept.books.is_complete()
    show(scene, 5)
    assert found(kept) == [("I4", "gap", "seq 4"), ("I4", "missing", "seq 4")]


def test_a_cut_does_not_excuse_a_repeat(kept: Scene) -> None:
    kept.viewer.cut("connection lost")
    show(kept, 5)
    assert found(kept) == [("I4", "repeated", "seq 5")]


def test_a_viewer_with_a_filter_has_to_see_what_it_wants_and_no_more_of_the_numbers(kept: Scene) -> None:
    odd = kept.books.viewer("odd", CALL, wants=lambda post: post.seq % 2 == 1)
    show(kept._replace(viewer=odd), 1, 3, 5)
    assert found(kept) == []
    odd_with_gap = kept.books.viewer("odd with gap", CALL, wants=lambda post: post.seq % 2 == 1)
    show(kept._replace(viewer=odd_with_gap), 1, 5)
    assert found(kept) == [("I4", "gap", "seq 3"), ("I4", "missing", "seq 3")]


def test_a_viewer_whose_frames_name_only_the_event_id_is_checked_in_the_same_way(kept: Scene) -> None:
    flat = kept.books.viewer("flat", CALL)
    for n in (1, 2, 4, 5):
        flat.saw(event_id=f"evt_{n}", type="call.note", data=DATA[n - 1])
    assert found(kept) == [("I4", "gap", "seq 3"), ("I4", "missing", "seq 3")]


def test_what_was_refused_must_not_be_sent_or_shown(kept: Scene) -> None:
    kept.books.posting("key 6", CALL, "call.note", b'{"n":6}')
    kept.books.refused("key 6", "409 stream_ended")
    assert found(kept) == []
    deliver(kept, 6, envelope(6, b'{"n":6}'))
    kept.viewer.saw(seq=6, event_id="evt_6", type="call.note", data=b'{"n":6}')
    assert found(kept) == [("I2", "refused but sent", "seq 6"), ("I2", "refused but sent", "evt_6")]


def test_what_nobody_posted_must_not_be_sent_or_shown(kept: Scene) -> None:
    deliver(kept, 6, envelope(6, b'{"n":6}'))
    kept.viewer.saw(seq=6, event_id="evt_6", type="call.note", data=b'{"n":6}')
    assert found(kept) == [("I2", "never posted", "seq 6"), ("I2", "never posted", "evt_6")]


def test_what_was_never_answered_may_come_or_not(kept: Scene) -> None:
    kept.books.posting("key 6", CALL, "call.note", b'{"n":6}')
    assert found(kept) == []
    assert kept.books.is_complete()
    deliver(kept, 6, envelope(6, b'{"n":6}'))
    kept.viewer.saw(seq=6, event_id="evt_6", type="call.note", data=b'{"n":6}')
    assert found(kept) == []


def test_streams_of_others_are_let_pass_only_by_a_shared_receiver(kept: Scene) -> None:
    theirs = envelope(3, stream=("call", "call_2"))
    shared = kept.books.receiver("shared", verify=Webhook(SECRET).verify, wants=lambda post: False, shared=True)
    shared.got(signed(theirs, "evt_77"), theirs)
    assert found(kept) == []
    kept.receiver.got(signed(theirs, "evt_77"), theirs)
    assert found(kept) == [("I2", "never posted", "evt_77")]


def test_one_key_with_two_ids_and_one_place_for_two_events_are_found(kept: Scene) -> None:
    kept.books.acknowledged("key 1", "evt_1", 1)
    assert found(kept) == []
    kept.books.acknowledged("key 1", "evt_9", 9)
    kept.books.posting("key 6", CALL, "call.note", b'{"n":6}')
    kept.books.acknowledged("key 6", "evt_6", 5)
    assert found(kept)[:2] == [("I2", "clash", "key 1"), ("I2", "clash", "key 6")]


def test_the_time_of_the_first_post_of_a_key_counts(scene: Scene) -> None:
    scene.books.posting("key 1", CALL, "call.note", DATA[0])
    assert scene.books.posts()[0].posted_at == 0


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        (b'{ "a" : [ 1.0 ,\t1e3, -0.0 ],\r\n"b" : " a  b\\" : \\\\" }', b'{"a":[1.0,1e3,-0.0],"b":" a  b\\" : \\\\"}'),
        ('{"x": "\u2028 \u0085"}'.encode(), '{"x":"\u2028 \u0085"}'.encode()),
    ],
)
def test_compacting_drops_white_space_outside_strings_and_nothing_else(raw: bytes, expected: bytes) -> None:
    assert compact(raw) == expected


def test_members_keep_order_and_spelling() -> None:
    assert members(b' { "b" : 1e400 , "a":[ 1.0 ], "\\u0061": {} } ') == [
        ("b", b"1e400"),
        ("a", b"[ 1.0 ]"),
        ("a", b"{}"),
    ]
    assert members(b"{}") == []


def test_without_takes_members_away_and_leaves_the_rest_as_it_was() -> None:
    assert without(b'{"id":"x","n":1.0,"k":1e3}', {"id"}) == b'{"n":1.0,"k":1e3}'
    assert without(b'{"id":"x"}', {"id"}) == b"{}"


def test_percentiles_are_values_that_occurred() -> None:
    assert percentile([4, 1, 3, 2], 50) == 2
    assert percentile([4, 1, 3, 2], 95) == 4
    assert percentile([], 50) != percentile([], 50)
