"""What a load plays on: contenders that are started when first needed, a receiver, numbers that are used once."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from bench import cpu
from bench.contenders.bare import Bare
from bench.contenders.contender import Contender
from bench.contenders.nchan import Nchan
from bench.contenders.plain import Plain
from bench.contenders.product import Product
from bench.earlier import LANES, tree_before
from bench.histogram import Pairs, percentiles
from bench.programs import Receiver
from bench.stand import Engines

LABELS = 64  # of a receiver


@dataclass
class Result:
    """What one load of one contender gave. figures: by name, times in ms; histograms: the latencies behind them."""

    figures: dict[str, float] = field(default_factory=dict)
    histograms: dict[str, Pairs] = field(default_factory=dict)

    def latencies(self, name: str, pairs: Pairs) -> None:
        """Enter a histogram and its percentiles."""
        self.histograms[name] = pairs
        self.figures |= percentiles(pairs, name)

    def costs(self, meter: Meter, events: int) -> None:
        """Enter what was used, for one event: each kind of process, and all."""
        for kind, seconds in meter.used.items():
            self.figures[f"cpu_{kind}"] = seconds * 1000 / events
        self.figures["cpu"] = meter.total * 1000 / events
        self.figures["foreign"] = meter.foreign
        if meter.wal_bytes is not None:
            self.figures["wal_bytes"] = meter.wal_bytes / events

    def generator(self, seconds: float, *reports: Mapping[str, Any]) -> None:
        """Enter the share of one core that the load programs used: they must not be the limit."""
        self.figures["generator"] = sum(float(report["cpu"]) for report in reports) / max(seconds, 1e-6)


class Meter:
    """What a contender's processes and the engines use while a block runs: CPU seconds, write-ahead log."""

    def __init__(self, contender: Contender) -> None:
        self._contender = contender
        self.used: dict[str, float] = {}
        self.seconds = 0.0
        self.wal_bytes: int | None = None
        self.foreign = 0.0  # the share of the machine that others took

    @property
    def total(self) -> float:
        """Of all kinds."""
        return sum(self.used.values())

    def __enter__(self) -> Meter:
        self._wal = self._contender.written()
        self._before, self._others = cpu.snapshot(self._contender.kinds()), self._foreign_seconds()
        self._began = time.monotonic()
        return self

    def __exit__(self, *_: object) -> None:
        self.seconds = time.monotonic() - self._began
        after = cpu.snapshot(self._contender.kinds())
        self.used = {kind: after[kind] - self._before.get(kind, 0.0) for kind in after}
        written = self._contender.written()
        self.wal_bytes = None if written is None or self._wal is None else written - self._wal
        room = max(self.seconds, 0.1) * (os.cpu_count() or 1)
        self.foreign = max(0.0, self._foreign_seconds() - self._others) / room

    def _foreign_seconds(self) -> float:
        """CPU of all that neither the bench nor anything it has started has used."""
        return cpu.busy_seconds() - cpu.snapshot({"ours": [os.getpid()]})["ours"]


class Stage:
    """Everything that stands. tree: of the product."""

    def __init__(self, directory: Path, tree: Path) -> None:
        self.directory, self.tree = directory, tree
        self.engines = Engines(directory)
        self.engines.start()
        self._contenders: dict[str, Contender] = {}
        self._receiver: Receiver | None = None
        self._number, self._label = 0, 0

    def of(self, name: str) -> Contender:
        """A contender by its name."""
        makers: dict[str, Callable[[], Contender]] = {
            "twofold": lambda: Product(self.engines, self.tree),
            "plain": lambda: Plain(self.engines),
            "twofold-1": lambda: Product(self.engines, self.tree, name="single", redis_database=1, WEB_CONCURRENCY="1"),
            "counted": lambda: Product(
                self.engines, self.tree, name="counted", redis_database=2, relayed=True, WEB_CONCURRENCY="1"
            ),
            "logged": lambda: Product(self.engines, self.tree, name="logged", redis_database=3, WEB_CONCURRENCY="1"),
            "claimed": lambda: Product(self.engines, self.tree, name="claimed", redis_database=4, WEB_CONCURRENCY="1"),
            "before": lambda: Product(
                self.engines, tree_before(LANES, self.directory), name="before", redis_database=5
            ),
            "plain-1": lambda: Plain(self.engines, name="plain_single", redis_database=8, WEB_CONCURRENCY="1"),
            "bare": lambda: Bare(self.engines),
            "nchan": lambda: Nchan(self.engines),
        }
        if name not in self._contenders:
            self._contenders[name] = makers[name]()
        return self._contenders[name]

    @property
    def product(self) -> Product:
        """Twofold."""
        return cast(Product, self.of("twofold"))

    def single(self, name: str) -> Contender:
        """A contender with one web process: what one can do is asked."""
        return self.of(name if name == "nchan" else f"{name}-1")

    @property
    def receiver(self) -> Receiver:
        """Where webhooks go."""
        if self._receiver is None:
            self._receiver = Receiver()
        return self._receiver

    def numbers(self, count: float) -> int:
        """The first of so many event numbers that nobody else has."""
        first, self._number = self._number, self._number + int(count)
        return first

    def label(self) -> int:
        """One of the receiver's books that no load has used lately."""
        self._label = (self._label + 1) % LABELS
        return self._label

    def end(self, name: str) -> None:
        """Stop a contender; the next use starts it anew."""
        if found := self._contenders.pop(name, None):
            found.stop()

    def close(self) -> None:
        """End everything."""
        for name in list(self._contenders):
            self.end(name)
        if self._receiver:
            self._receiver.close()
        self.engines.stop()
