"""The loads, as data: what is done to whom, and how much of it in each form."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from bench import single
from bench.stage import Result, Stage

FORMS = ("smoke", "short", "full")
ROUNDS = {"smoke": 1, "short": 3, "full": 3}
Sizes = Mapping[str, float]
Several = tuple[float, float, float]  # one for each form


@dataclass(frozen=True)
class Load:
    """One load. sizes: a figure for all forms, or one for each; once: too long for every round of the short form."""

    name: str
    what: str
    run: Callable[[Stage, str, Sizes], Result]
    contenders: tuple[str, ...]
    sizes: Mapping[str, float | Several] = field(default_factory=dict)
    once: bool = False

    def sizes_of(self, form: str) -> dict[str, float]:
        """The sizes in one form."""
        place = FORMS.index(form)
        return {name: size[place] if isinstance(size, tuple) else size for name, size in self.sizes.items()}

    def rounds(self, form: str) -> int:
        """How often it is done."""
        return 1 if self.once and form != "full" else ROUNDS[form]


BOTH = ("twofold", "plain")
US = ("twofold",)

LOADS = (
    Load("bare", "bare Flask routes; one committed INSERT", single.bare, ("bare",), {"seconds": (0.5, 3, 20)}),
    Load("alone-10", "10 single POSTs/s", single.alone, BOTH, {"rate": 10, "seconds": (1, 6, 60)}),
    Load("alone-50", "50 single POSTs/s", single.alone, BOTH, {"rate": 50, "seconds": (1, 5, 60)}),
    Load("alone-200", "200 single POSTs/s", single.alone, BOTH, {"rate": 200, "seconds": (1, 5, 60)}),
    Load("watched-200", "200 POSTs/s with viewers", single.watched, BOTH, {"rate": 200, "seconds": (1, 4, 60)}),
    Load("crowd-16", "closed loop of 16", single.crowd, BOTH, {"connections": 16, "seconds": (0.5, 4, 60)}),
    Load("crowd-64", "closed loop of 64", single.crowd, BOTH, {"connections": 64, "seconds": (0.5, 4, 60)}),
    Load("ndjson", "NDJSON of 500, delivered", single.lines, US, {"seconds": (0.3, 3, 60)}),
    Load("read", "GET of a stream, of a delivery", single.read, BOTH, {"seconds": (0.3, 2, 20)}),
    Load("accept", "closed loop of 64, no endpoint", single.accept, BOTH, {"seconds": (0.5, 3, 60)}),
    Load("idle", "nothing happens", single.idle, US, {"seconds": (1, 15, 60)}, once=True),
)
