"""The sums of docs/scale.md."""

from __future__ import annotations

import pytest

from bench import scale

FIGURES = {
    "opening": 1.0, "memory": 16.0, "idle": 2.0, "frames": 200_000.0, "web": 0.1, "worker": 0.2, "postgres": 0.1,
    "redis": 0.01, "wal": 1000.0, "web alone": 1.0, "worker alone": 0.5, "postgres alone": 0.5, "wal alone": 2000.0,
}  # fmt: skip


def test_a_million_viewers() -> None:
    found = scale.reckoned(scale.VIEWER_SUMS, FIGURES)
    assert found is not None
    assert found["memory of connections"] == pytest.approx(15.26, abs=0.01)
    assert (found["web processes"], found["cores, idle"], found["cores, frames"]) == (100, 2, 0.5)
    assert found["cores, opening"] == pytest.approx(1.67, abs=0.01)
    assert found["web machines"] == pytest.approx((2 + 0.5 + 1.667) / 0.6 / 16, abs=0.01)
    assert found["bus, every process reads every shard"] == 5500


def test_deliveries_in_batches_and_alone() -> None:
    batch, alone = scale.reckoned(scale.BATCH_SUMS, FIGURES), scale.reckoned(scale.ALONE_SUMS, FIGURES)
    assert batch is not None
    assert alone is not None
    assert (batch["web cores"], batch["worker cores"], batch["write-ahead log"]) == (10, 20, 100)
    assert (batch["cells by its log"], alone["cells by its log"]) == (0.5, 1)
    assert alone["PostgreSQL cores"] == 50


def test_without_a_figure_there_is_no_sum() -> None:
    assert scale.reckoned(scale.VIEWER_SUMS, {"memory": 1.0}) is None
    assert scale.text_of({}, "Nothing.").count("Not measured yet.") == 3


def test_the_page_shows_figures_and_sums() -> None:
    rounds = {0: {figure: FIGURES[name] for name, figure in scale.FIGURES.items()}}
    text = scale.text_of(rounds, "From a run.")
    assert "| web | `ndjson/twofold/cpu_web` | 0.10 |" in text
    assert "| web processes | viewers / 10,000 | 100 |" in text
