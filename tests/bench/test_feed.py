"""What a trial of the feed finds wrong, from what readers were shown and what is stored."""

from __future__ import annotations

from bench.feed import Seen, judged

STORED = {"a1": (1, 1, 10.0), "a2": (1, 2, 11.0), "b1": (2, 1, 12.0)}


def shown(*ids: str) -> list[Seen]:
    return [Seen(id, id[0], int(id[1:]), STORED[id][2] + 0.02) for id in ids]


def test_a_reader_that_is_shown_everything_once_is_told_how_late_it_was() -> None:
    figures = judged([shown("a1", "b1", "a2"), shown("b1", "a1", "a2")], STORED).figures
    assert {name: figures[name] for name in ("stored", "missed", "twice", "out_of_order")} == {
        "stored": 3, "missed": 0, "twice": 0, "out_of_order": 0,
    }  # fmt: skip
    assert 19 < figures["feed_p50"] <= figures["feed_p99"] < 21


def test_what_is_missed_shown_twice_or_out_of_order_is_counted_for_each_reader() -> None:
    figures = judged([shown("a2", "a1"), shown("a1", "a2", "a1", "b1")], STORED).figures
    assert (figures["missed"], figures["twice"], figures["out_of_order"]) == (1, 1, 1)
