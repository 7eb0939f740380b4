"""`python -m bench`: measure, judge, and write docs/performance.md. `make bench` is this."""

from __future__ import annotations

import argparse
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from bench import machine, page, scale, table
from bench.bars import BARS
from bench.figures import judge
from bench.loads import FORMS, LOADS, ROUNDS, Load
from bench.place import PAGE, PICTURES, ROOT, VAR
from bench.programs import BenchError, compiled
from bench.results import Results, resume
from bench.stage import Stage
from bench.stand import work_directory


def parser() -> argparse.ArgumentParser:
    """The options."""
    found = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    found.add_argument("--form", choices=FORMS, default="short", help="smoke: two minutes; short: 20; full: hours")
    found.add_argument("--only", action="append", default=[], metavar="NAME", help="loads with this in their names")
    found.add_argument("--tree", type=Path, default=ROOT, help="a checkout whose product is measured")
    found.add_argument("--rounds", type=int, help="do each load so often at most")
    found.add_argument("--strict", action="store_true", help="a missed bar is an error")
    found.add_argument("--fresh", action="store_true", help="forget what an interrupted full run has found")
    found.add_argument("--list", action="store_true", help="name the loads")
    return found


def main(arguments: Sequence[str]) -> int:
    """Measure what is asked for; 0 when everything could be measured (--strict: and every bar is met)."""
    options = parser().parse_args(arguments)
    loads = chosen(options.only)
    if options.list:
        for load in loads:
            print(f"{load.name:14} {load.what} ({', '.join(load.contenders)})")
        return 0
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that everything that was started is ended
    tree = options.tree.resolve()
    results = _results(options, tree)
    for program in ("post", "receive", "watch"):
        compiled(program)
    began = time.monotonic()
    with ExitStack() as stack:
        stage = Stage(stack.enter_context(work_directory()), tree)
        stack.callback(stage.close)
        for round_ in range(min(ROUNDS[options.form], options.rounds or ROUNDS[options.form])):
            for load in loads:
                if round_ < load.rounds(options.form):
                    _measure(stage, load, round_, options.form, results)
    return _tell(options, loads, results, (time.monotonic() - began) / 60)


def chosen(only: Sequence[str]) -> list[Load]:
    """All loads, or those that are named: by a whole name, or by a part; with the measure that all are held against."""
    if not only:
        return list(LOADS)
    names = {load.name for load in LOADS}
    wanted = [
        load for load in LOADS if any(part == load.name or (part in load.name and part not in names) for part in only)
    ]
    if not wanted:
        raise SystemExit(f"There is no load of this name; python -m bench --list names them: {', '.join(only)}")
    return [load for load in LOADS if load in wanted or load.name == "bare"]


def _results(options: argparse.Namespace, tree: Path) -> Results:
    run = {"form": options.form, "tree": str(tree), "revision": _revision(tree), "only": " ".join(options.only)}
    file = VAR / f"results-{options.form}{'-part' if options.only else ''}.json"
    return resume(file, run) if options.form == "full" and not options.fresh else Results(file, run)


def _measure(stage: Stage, load: Load, round_: int, form: str, results: Results) -> None:
    order = load.contenders if round_ % 2 == 0 else tuple(reversed(load.contenders))
    for contender in order:
        if results.has(load.name, contender, round_):
            continue
        began = time.monotonic()
        print(f"{load.name}, {contender} (round {round_ + 1}) …", end=" ", flush=True)
        try:
            result = load.run(stage, contender, load.sizes_of(form))
            results.enter(load.name, contender, round_, result)
            shown = ("cpu", "rate", "post_p95", "webhook_p95", "frame_p95")
            told = ", ".join(f"{name} {table.number(result.figures[name])}" for name in shown if name in result.figures)
        except BenchError as error:
            results.enter(load.name, contender, round_, str(error))
            told = f"NOT MEASURED: {error}"
        except Exception:  # the next load can perhaps be measured
            results.enter(load.name, contender, round_, traceback.format_exc())
            told = f"NOT MEASURED: {traceback.format_exc()}"
            stage.end(contender)
            stage.end(f"{contender}-1")
        print(f"{time.monotonic() - began:.0f} s: {told}", flush=True)


def _tell(options: argparse.Namespace, loads: Sequence[Load], results: Results, minutes: float) -> int:
    run_loads = {load.name for load in loads}
    judged = judge([bar for bar in BARS if bar.load in run_loads], results.rounds)
    names = {load.name: load.what for load in LOADS}
    run = f"The {options.form} form at {results.run['revision']}. {machine.described()}"
    text = page.text_of(judged, results.rounds, names, results.errors, run)
    print(f"\n{text}\n\n{minutes:.0f} minutes; raw figures in {results.file}")
    if options.form != "smoke" and not options.only and options.tree == ROOT:
        page.write(PAGE, text)
        PICTURES.mkdir(parents=True, exist_ok=True)
        for name, drawn in page.pictures(results.rounds).items():
            (PICTURES / name).write_text(drawn)
        page.write(
            scale.PAGE, scale.text_of(results.rounds, f"From the {options.form} form at {results.run['revision']}.")
        )
    missed = [one for one in judged if one.is_met is False]
    wrong = [name for name, text in results.errors.items() if "nchan is not here" not in text]
    return 1 if wrong or (options.strict and missed) else 0


def _revision(tree: Path) -> str:
    command = ["git", "-c", f"safe.directory={tree}", "-C", str(tree), "rev-parse", "--short", "HEAD"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.stdout.strip() or "an unknown revision"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
