"""`python -m tests.chaos`: run scenarios and say what became of every event. `make chaos` is this."""

from __future__ import annotations

import argparse
import json
import random
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path

from tests.chaos import engines, page, trial
from tests.chaos.ending import Ending
from tests.chaos.engines import Engines
from tests.chaos.hands import Hands, serve
from tests.chaos.product import Build, Product
from tests.chaos.progress import Progress, resume
from tests.chaos.releases import default_release, revision
from tests.chaos.stage import Scenario
from tests.chaos.table import scenarios
from tests.chaos.verdict import Verdict
from tests.chaos.work import Work
from tests.processes import ROOT

VAR = ROOT / "var" / "chaos"
PAGE = ROOT / "docs" / "reliability.md"


@dataclass(frozen=True)
class Form:
    """How much is done: how often each failpoint and each other scenario; in the short form, only some of them."""

    name: str
    failpoints: int
    rounds: int

    def has(self, scenario: Scenario) -> bool:
        """Whether a scenario is among those of this form."""
        return scenario.short or self.name != "short"

    def count(self, scenario: Scenario) -> int:
        """How often a scenario is done."""
        return max(1, round((self.failpoints if scenario.failpoint else self.rounds) * scenario.share))


FORMS = {form.name: form for form in (Form("short", 1, 1), Form("normal", 10, 5), Form("full", 100, 50))}


def parser() -> argparse.ArgumentParser:
    found = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    found.add_argument("--form", choices=FORMS, default="normal", help="short: 7 minutes; normal: 25; full: hours")
    found.add_argument("--list", action="store_true", help="name the scenarios")
    found.add_argument(
        "--only", action="append", default=[], metavar="NAME", help="only scenarios with this in the name"
    )
    found.add_argument("--rounds", type=int, help="do each so often")
    found.add_argument("--seed", type=int, default=random.randrange(10**6), help="of what is left to chance")
    found.add_argument(
        "--release", default=default_release(), metavar="REV", help="an older release to run beside this one"
    )
    found.add_argument("--keep-logs", action="store_true", help="keep the processes' logs of good scenarios, too")
    found.add_argument("--jobs", type=int, default=1, metavar="N", help="so many products at once")
    found.add_argument("--hand", action="store_true", help=argparse.SUPPRESS)
    found.add_argument("--go-on", action="store_true", help="keep what a full run of another revision has done")
    found.add_argument("--fresh", action="store_true", help="forget how far an earlier run came")
    return found


class Run:
    """One run: engines, and the product that stays while nothing has gone wrong."""

    def __init__(self, directory: Path, options: argparse.Namespace) -> None:
        self._directory, self._options = directory, options
        self._chance = random.Random(options.seed)
        self._engines = Engines(directory / "engines")
        self._engines.start()
        self._small: Engines | None = None
        self._product: Product | None = None
        self._numbers = iter(range(10**6))

    def do(self, scenario: Scenario, rounds: int) -> Verdict:
        """Some rounds of a scenario."""
        try:
            product = self._product_for(scenario.build)
            verdict = trial.run(scenario, rounds, product, self._chance, product.directory, self._options.release)
        except Exception as error:  # the product cannot be started: the next scenario's perhaps can
            verdict = Verdict(times=1, faults=[f"it cannot be tried: {error!r}"])
        if not verdict.is_good or self._options.keep_logs:
            if self._product is not None:
                self._product.keep_logs(VAR / "logs" / scenario.name.replace(" ", "-"))
            self._let_go()
            self._engines.mend()
        return verdict

    def close(self) -> None:
        """End everything."""
        self._let_go()
        self._engines.stop()

    def _product_for(self, build: Build) -> Product:
        if self._product is None or self._product.build != build:
            self._let_go()
            found = self._engines
            if build.small_disk:
                mount = engines.small_disk(self._directory)
                assert mount is not None, "a small disk cannot be mounted"
                found = self._small = Engines(mount / "engines")
                found.start()
            self._product = Product(found, self._directory / f"product-{next(self._numbers)}", build)
        return self._product

    def _let_go(self) -> None:
        if self._product is not None:
            self._product.stop()
            self._product = None
        if self._small is not None:
            self._small.stop()
            self._small = None
            engines.unmount(self._directory)


def main(arguments: Sequence[str]) -> int:
    """Run what is asked for; 0 when all promises were kept."""
    options = parser().parse_args(arguments)
    form = FORMS[options.form]
    wanted = chosen(scenarios(options.release), options.only, form)
    possible = [one for one in wanted if not one.impossible]
    if options.hand:
        return _alone(options, lambda run: serve(run.do, possible, sys.stdin, sys.stdout))
    if options.list:
        print("\n".join(f"{one.name:36} {form.count(one):4}  {one.what}" for one in wanted))
    for one in wanted:
        if one.impossible:
            print(f"left out: {one.name}: {one.impossible}", flush=True)
    if options.list:
        return 0
    progress = _progress(options, form)
    work = Work(possible, lambda one: options.rounds or form.count(one), progress)
    if options.jobs > 1:
        _together(options.jobs, arguments, work)
    else:
        _alone(options, lambda run: _do(run, work))
    done = {name: verdict for name, verdict in progress.done.items() if any(one.name == name for one in possible)}
    _tell(options, form, possible, done, progress)
    return 0 if done and all(verdict.is_good for verdict in done.values()) else 1


def _alone(options: argparse.Namespace, do: Callable[[Run], None]) -> int:
    """With engines and products of this process."""
    ending = Ending()
    ending.listen()
    with ExitStack() as stack:
        directory = stack.enter_context(engines.work_directory())
        stack.callback(ending.ignore)
        run = Run(directory, options)
        stack.callback(run.close)
        stack.callback(ending.ignore)
        do(run)
    return 0


def _together(number: int, arguments: Sequence[str], work: Work) -> None:
    ending = Ending()
    ending.listen()
    hands = Hands(number, arguments, work)
    try:
        hands.work()
    finally:
        ending.ignore()
        hands.close()


def chosen(every: Sequence[Scenario], only: Sequence[str], form: Form) -> list[Scenario]:
    """Those of a form, or those that are named: by their whole name, or by a part of it that is nobody's whole name."""
    names = {one.name for one in every}
    if not only:
        return [one for one in every if form.has(one)]
    return [one for one in every if any(part == one.name or (part in one.name and part not in names) for part in only)]


def _progress(options: argparse.Namespace, form: Form) -> Progress:
    """Only the full form goes on where it was interrupted."""
    asked = {"only": options.only, "rounds": options.rounds, "release": options.release}
    identity = {"form": form.name, "revision": revision(), **{name: str(value) for name, value in asked.items()}}
    file = VAR / f"progress-{form.name}.json"
    if form.name != "full" or options.fresh:
        return Progress(file, identity)
    return resume(file, identity, options.go_on)


def _do(run: Run, work: Work) -> None:
    while (piece := work.take()) is not None:
        began = time.monotonic()
        verdict = run.do(*piece)
        work.done(piece, verdict, time.monotonic() - began)


def _tell(
    options: argparse.Namespace, form: Form, possible: Sequence[Scenario], done: dict[str, Verdict], progress: Progress
) -> None:
    told = page.Told(form.name, revision(), progress.seconds / 60, progress.again, progress.revisions)
    text = page.text_of(possible, done, told)
    VAR.mkdir(parents=True, exist_ok=True)
    (VAR / "results.json").write_text(json.dumps({name: asdict(one) for name, one in done.items()}, indent=1))
    (VAR / "table.md").write_text(text + "\n")
    print(text)
    broken = [name for name, verdict in done.items() if not verdict.is_good]
    for name in broken:
        print(f"not as promised: {name}; to see it: make chaos ONLY='{name}'; logs: {VAR}/logs")
    if options.only or options.rounds or len(done) < len(possible):
        return
    if page.writes(PAGE, form.name):
        page.write(PAGE, text)
        print(f"written into {PAGE.relative_to(ROOT)}")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
