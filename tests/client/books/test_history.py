"""The history checker finds each kind of broken promise in journals, finds nothing when all were kept, and is quick."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from app.client.books.history import check, main
from app.client.books.journal import Journal, JournalError, fingerprint, line, read
from tests.processes import ROOT

CALL = "ws_1/call/call_1"
Record = dict[str, Any]


def invoke(n: int, stream: str = CALL) -> Record:
    return {"op": "invoke", "key": f"k{n}", "stream": stream, "print": f"print {n}"}


def ok(n: int, **changed: Any) -> Record:
    return {"op": "ok", "key": f"k{n}", "id": f"evt_{n}", "seq": n, **changed}


def answer(op: str, n: int) -> Record:
    return {"op": op, "key": f"k{n}"}


def receive(n: int, **changed: Any) -> Record:
    place = {"id": f"evt_{n}", "stream": CALL, "seq": n, "print": f"print {n}", "body": f"body {n}"}
    return {"op": "receive", "at": "customer", "status": 200, **place, **changed}


def excuse(n: int, why: str = "failed: window_exhausted") -> Record:
    return {"op": "excuse", "at": "customer", "id": f"evt_{n}", "why": why}


def see(n: int, **changed: Any) -> Record:
    return {"op": "see", "at": "dashboard", "seq": n, "id": f"evt_{n}", "print": f"print {n}", **changed}


def viewer(op: str, **fields: Any) -> Record:
    return {"op": op, "at": "dashboard", **fields}


REGISTER: Record = {"op": "register", "at": "customer", "prefix": "ws_1/"}
WATCH = viewer("watch", stream=CALL, after=0)
POSTED = [record for n in (1, 2, 3, 4) for record in (invoke(n), ok(n))]
RECEIVED = [REGISTER, *(receive(n) for n in (1, 2, 3, 4))]
SEEN = [WATCH, *(see(n) for n in (1, 2, 3, 4))]
# A fifth post without an answer.
UNSURE = [*POSTED, invoke(5), answer("unknown", 5)]

Check = Callable[..., dict[str, int]]


def write(path: Path, records: list[Record]) -> Path:
    journal = Journal(path)
    for record in records:
        journal.write(**record)
    journal.close()
    return path


@pytest.fixture
def found(tmp_path: Path) -> Check:
    """Checks histories of several files; the violations by kind. The files' order makes no difference."""

    def run(*histories: list[Record]) -> dict[str, int]:
        paths = [write(tmp_path / f"{number}.jsonl", records) for number, records in enumerate(histories)]
        kinds = dict(check(paths).violations)
        assert dict(check(paths[::-1]).violations) == kinds
        return kinds

    return run


KEPT: dict[str, tuple[list[Record], ...]] = {
    "everything came": (POSTED, RECEIVED, SEEN),
    "one file": ([*POSTED, *RECEIVED, *SEEN],),
    "webhooks in any order": (POSTED, [REGISTER, *(receive(n) for n in (3, 1, 4, 2))], SEEN),
    "a webhook repeated byte for byte": (POSTED, [*RECEIVED, receive(2), receive(2)], SEEN),
    "a webhook tried again": (POSTED, [REGISTER, receive(1, status=500), *RECEIVED], SEEN),
    "a receiver that wrote two files": (POSTED, RECEIVED[:3], [REGISTER, *RECEIVED[3:]], SEEN),
    "a delivery that ended and says why": (POSTED, RECEIVED[:-1], [excuse(4)], SEEN),
    "events of others": (POSTED, [*RECEIVED, {**REGISTER, "at": "other", "prefix": "ws_2/"}], SEEN),
    "refused and never seen": ([*POSTED, invoke(5), answer("fail", 5)], RECEIVED, SEEN),
    "refused first, then accepted": ([*POSTED[:-1], answer("fail", 4), invoke(4), ok(4)], RECEIVED, SEEN),
    "unanswered and never seen": (UNSURE, RECEIVED, SEEN),
    "unanswered and seen by all": (UNSURE, [*RECEIVED, receive(5)], [*SEEN, see(5)]),
    "a producer that was killed": ([*POSTED, invoke(5)], [*RECEIVED, receive(5)], [*SEEN, see(5)]),
    "repeated under its key": ([*UNSURE, invoke(5), ok(5)], [*RECEIVED, receive(5)], [*SEEN, see(5)]),
    "unanswered, then refused, and seen": (
        [*UNSURE, invoke(5), answer("fail", 5)],
        [*RECEIVED, receive(5)],
        [*SEEN, see(5)],
    ),
    "repeated by another producer": (
        [*POSTED, invoke(5)],
        [invoke(5), ok(5)],
        [*RECEIVED, receive(5)],
        [*SEEN, see(5)],
    ),
    "posts side by side": ([invoke(1), invoke(2), ok(2), ok(1), *POSTED[4:]], RECEIVED, SEEN),
    "watched from a cursor": (POSTED, RECEIVED, [viewer("watch", stream=CALL, after=2), see(3), see(4)]),
    "a viewer that left": (POSTED, RECEIVED, [*SEEN[:3], viewer("leave")]),
    "an announced cut": (POSTED, RECEIVED, [WATCH, see(1), viewer("cut"), see(4)]),
    "cut at the end": (POSTED, RECEIVED, [*SEEN[:3], viewer("cut")]),
    "frames without an id": (POSTED, RECEIVED, [WATCH, *(see(n, id=None) for n in (1, 2, 3, 4))]),
    "frames without a seq": (POSTED, RECEIVED, [WATCH, *(see(n, seq=None) for n in (1, 2, 3, 4))]),
}


@pytest.mark.parametrize("name", KEPT)
def test_nothing_is_found_where_every_promise_was_kept(found: Check, name: str) -> None:
    assert found(*KEPT[name]) == {}


BROKEN: dict[str, tuple[dict[str, int], tuple[list[Record], ...]]] = {
    "a webhook never came": ({"lost": 1}, (POSTED, RECEIVED[:-1], SEEN)),
    "no receiver ever took it": ({"lost": 1}, (POSTED, [*RECEIVED[:-1], receive(4, status=503)], SEEN)),
    "the end of the stream never came": ({"lost": 2}, (POSTED, RECEIVED, SEEN[:3])),
    "a viewer saw nothing": ({"lost": 4}, (POSTED, RECEIVED, [WATCH])),
    "only the receiver has it": ({"half": 1}, (UNSURE, [*RECEIVED, receive(5)], SEEN)),
    "only the viewer has it": ({"half": 1}, (UNSURE, RECEIVED, [*SEEN, see(5)])),
    "a gap": ({"gap": 1}, (POSTED, RECEIVED, [WATCH, see(1), see(4)])),
    "a gap before the first": ({"gap": 1}, (POSTED, RECEIVED, [WATCH, see(2), see(3), see(4)])),
    "two gaps": ({"gap": 2}, (POSTED, RECEIVED, [WATCH, see(2), see(4)])),
    "a gap after a cut is over": ({"gap": 1}, (POSTED, RECEIVED, [WATCH, viewer("cut"), see(2), see(4)])),
    "shown twice": ({"repeated": 1}, (POSTED, RECEIVED, [*SEEN, see(4)])),
    "shown from before the cursor": (
        {"repeated": 1},
        (POSTED, RECEIVED, [viewer("watch", stream=CALL, after=2), see(2), see(3), see(4)]),
    ),
    "shown twice across a cut": ({"repeated": 1}, (POSTED, RECEIVED, [*SEEN, viewer("cut"), see(3)])),
    "accepted twice": (
        {"repeated": 2},
        ([*POSTED, invoke(4), ok(4, id="evt_9", seq=9)], RECEIVED, [*SEEN, see(4, id="evt_9", seq=5)]),
    ),
    "out of order": ({"reordered": 1}, (POSTED, RECEIVED, [WATCH, see(1), see(3), see(2), see(4)])),
    "late after a cut": ({"reordered": 1}, (POSTED, RECEIVED, [WATCH, viewer("cut"), see(3), see(2), see(4)])),
    "late in the middle of a gap": (
        {"reordered": 1, "gap": 2},
        ([*POSTED, invoke(5), ok(5)], [*RECEIVED, receive(5)], [WATCH, see(1), see(5), see(3)]),
    ),
    "numbered against the order of posts": (
        {"reordered": 1},
        ([invoke(2), ok(2), invoke(1), ok(1), *POSTED[4:]], RECEIVED, SEEN),
    ),
    "sent but never posted": ({"invented": 1}, (POSTED, [*RECEIVED, receive(9)], SEEN)),
    "shown but never posted": ({"invented": 1}, (POSTED, RECEIVED, [*SEEN, see(5)])),
    "sent though refused": ({"invented": 1}, ([*POSTED, invoke(5), answer("fail", 5)], [*RECEIVED, receive(5)], SEEN)),
    "sent to somebody else": (
        {"invented": 1},
        (POSTED, RECEIVED, SEEN, [{**REGISTER, "at": "other", "prefix": "ws_2/"}, receive(1, at="other")]),
    ),
    "a webhook repeated with other bytes": ({"changed": 1}, (POSTED, [*RECEIVED, receive(2, body="body x")], SEEN)),
    "a webhook with another payload": ({"changed": 1}, (POSTED, [*RECEIVED, receive(2, print="print x")], SEEN)),
    "an event with another payload": ({"changed": 1}, (POSTED, RECEIVED, [*SEEN[:-1], see(4, print="print x")])),
    "an event in another place": (
        {"changed": 1, "gap": 1},
        (POSTED, RECEIVED, [*SEEN[:-1], see(4, seq=5)]),
    ),
    "an event of another stream": (
        {"changed": 1},
        (
            [*POSTED, invoke(5, "ws_1/call/other"), ok(5, seq=1)],
            [*RECEIVED, receive(5, stream="ws_1/call/other", seq=1)],
            [*SEEN, see(5)],
        ),
    ),
    "two events in one place": (
        {"clash": 1},
        (POSTED, [invoke(5), ok(5, seq=4)], [*RECEIVED, receive(5, seq=4)], SEEN),
    ),
    "two events with one id": (
        {"clash": 1, "lost": 1},
        ([*POSTED, invoke(5), ok(5, id="evt_4")], RECEIVED, SEEN),
    ),
}


@pytest.mark.parametrize("name", BROKEN)
def test_each_broken_promise_is_found(found: Check, name: str) -> None:
    kinds, histories = BROKEN[name]
    assert found(*histories) == kinds


def test_the_report_counts_what_is_allowed_and_names_what_is_not(tmp_path: Path) -> None:
    posts = [*UNSURE, invoke(6), answer("fail", 6)]
    webhooks = [REGISTER, receive(1, status=500), *RECEIVED[1:3], receive(2), receive(5), excuse(4)]
    path = write(tmp_path / "all.jsonl", [*posts, *webhooks, *SEEN, see(5)])
    assert str(check([path])).splitlines() == [
        "posts: 4 acknowledged, 1 refused, 1 unknown (of which 1 appeared)",
        "webhooks: 5 received, 1 repeated with the same id and bytes, 1 tried again, 1 excused",
        "streams: 5 events shown",
        "violations: 1 lost",
        "lost at customer: evt_3: seq 3 of ws_1/call/call_1 never came",
    ]


@pytest.mark.parametrize(
    ("records", "words"),
    [
        ([ok(1)], "1: ok of 'k1' without an invoke before it"),
        ([invoke(1), ok(1), ok(1)], "3: ok of 'k1' without an invoke before it"),
        ([invoke(1), invoke(1, "ws_1/call/other")], "2: 'k1' was posted twice with different streams or payloads"),
        ([invoke(1), {**invoke(2), "print": "print 1"}], "2: 'k2' and 'k1' posted the same payload"),
        ([see(1)], "1: KeyError: 'dashboard'"),
        ([WATCH, WATCH], "2: 'dashboard' is watching already"),
        ([REGISTER, {**REGISTER, "prefix": "ws_2/"}], "2: 'customer' is registered with another prefix already"),
        ([REGISTER, excuse(1, why="")], "2: an excuse has to say why"),
        ([{"op": "saw"}], "1: there is no op 'saw'"),
        ([{"op": "invoke"}], "1: KeyError: 'stream'"),
    ],
)
def test_a_history_that_contradicts_itself_is_refused(tmp_path: Path, records: list[Record], words: str) -> None:
    path = write(tmp_path / "odd.jsonl", records)
    with pytest.raises(JournalError) as refused:
        check([path])
    assert str(refused.value).startswith(f"{path}:{words}")


def test_a_torn_last_line_is_no_record_and_one_in_the_middle_is_refused(tmp_path: Path) -> None:
    torn = tmp_path / "torn.jsonl"
    torn.write_bytes(line("invoke", key="k1") + b'{"op":"ok","key":"caf\xc3')
    assert [record for _, record in read(torn)] == [{"op": "invoke", "key": "k1"}]
    torn.write_bytes(b'{"op":"inv\n' + line("ok", key="k1"))
    with pytest.raises(JournalError, match=r"torn\.jsonl:1: "):
        list(read(torn))


def test_a_journal_takes_whole_lines_from_many_threads_and_never_goes_on_with_an_old_file(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    journal = Journal(path)
    writers = [
        threading.Thread(target=lambda at=at: [journal.write("see", at=at, seq=n) for n in range(200)])  # type: ignore[misc]
        for at in "abcd"
    ]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    journal.close()
    assert len({(record["at"], record["seq"]) for _, record in read(path)}) == 800
    with pytest.raises(FileExistsError):
        Journal(path)


def test_the_command_says_by_its_status_what_it_found(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    good = write(tmp_path / "good.jsonl", [*POSTED, *RECEIVED])
    bad = write(tmp_path / "bad.jsonl", SEEN[:-1])
    command = [sys.executable, "-m", "app.client.books.history", str(good)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.endswith("violations: none\n")
    assert main([str(good), str(bad)]) == 1
    assert "lost at dashboard: evt_4" in capsys.readouterr().out
    assert main([str(tmp_path / "absent.jsonl")]) == 2
    assert main([]) == 2
    assert capsys.readouterr().err.endswith("usage: python -m app.client.books.history FILE…\n")


RUNS = 50  # streams of the generated history, one producer each
OPERATIONS_AN_EVENT = 5  # invoke, ok, two webhooks, one frame


def generated(directory: Path, operations: int) -> list[Path]:
    """A history of about this many operations without a fault in it, but with unanswered and refused posts and with
    repeated webhooks. One file for the producers, one for each of two receivers, one for the viewers."""
    names = ("producers", "first", "second", "viewers")
    paths = [directory / f"{name}.jsonl" for name in names]
    files = dict(zip(names, (path.open("wb") for path in paths), strict=True))
    for number in range(RUNS):
        files["viewers"].write(line("watch", at=f"viewer {number}", stream=f"ws_1/call/{number}", after=0))
    for name in ("first", "second"):
        files[name].write(line("register", at=name, prefix="ws_1/"))
    for n in range(operations // OPERATIONS_AN_EVENT):
        for name, text in _of_event(n):
            files[name].write(text)
    for file in files.values():
        file.close()
    return paths


def _of_event(n: int) -> Iterator[tuple[str, bytes]]:
    run, seq = n % RUNS, n // RUNS + 1
    stream, event_id, print = f"ws_1/call/{run}", f"evt_{n:026}", fingerprint(b"%d" % n)
    yield "producers", line("invoke", key=f"key {n}", stream=stream, print=print)
    answered = {"op": "unknown"} if n % 1000 == 7 else {"op": "ok", "id": event_id, "seq": seq}
    yield "producers", line(**answered, key=f"key {n}")
    webhook = {"id": event_id, "stream": stream, "seq": seq, "print": print, "body": fingerprint(b"body %d" % n)}
    for name in ("first", "second"):
        for _ in range(2 if n % 500 == 3 else 1):
            yield name, line("receive", at=name, status=200, **webhook)
    yield "viewers", line("see", at=f"viewer {run}", seq=seq, id=event_id, print=print)


def check_generated(directory: Path, operations: int) -> float:
    """Checks a generated history, whole and with one webhook taken out; the seconds that one check took."""
    paths = generated(directory, operations)
    started_at = time.perf_counter()
    report = check(paths)
    seconds = time.perf_counter() - started_at
    events = operations // OPERATIONS_AN_EVENT
    assert (report.posts.total(), report.shown, report.violations) == (events, events, {})
    assert report.appeared == report.posts["unknown"] > 0
    assert report.webhooks == 2 * events + report.allowed_repeats
    lines = paths[1].read_bytes().splitlines(keepends=True)
    paths[1].write_bytes(b"".join(lines[:100] + lines[101:]))
    assert dict(check(paths).violations) == {"lost": 1}
    return seconds


def test_a_history_of_fifty_thousand_operations_is_checked_in_seconds(tmp_path: Path) -> None:
    assert check_generated(tmp_path, 50_000) < 10


@pytest.mark.load
def test_a_history_of_a_million_operations_is_checked_in_under_a_minute(tmp_path: Path) -> None:
    seconds = check_generated(tmp_path, 1_000_000)
    print(f"\na million operations checked in {seconds:.1f} s")
    assert seconds < 60
