"""`make demo`: a recording goes through the running product, live and by webhook, and everything is checked.

A producer posts the events of a recording, a viewer follows the stream, a receiver takes the webhooks and verifies
each with the independent `standardwebhooks` package. Exit status 0: nothing missing, nothing wrong.
"""

from __future__ import annotations

import argparse
import math
import os
import signal
import sys
from collections.abc import Sequence
from types import FrameType

from app.demo import plan, report
from app.demo.plan import PlanError
from app.demo.product import DemoError, find_product
from app.demo.run import Demo

DURATION_SECONDS = 20.0  # long enough to break something meanwhile, short enough to watch
DEADLINE_SECONDS = 120.0


def parser() -> argparse.ArgumentParser:
    """The options."""
    options = argparse.ArgumentParser(prog="twofold demo", description=__doc__)
    options.add_argument("--contract", default=os.environ.get("CONTRACT") or None, help="a table of examples/demo.toml")
    options.add_argument("--events", type=_count, help="play so many events of each recording (default: all)")
    options.add_argument("--count", type=_count, default=1, help="play it so many times, one after the other")
    pace = options.add_mutually_exclusive_group()
    pace.add_argument(
        "--duration", type=_above_zero, default=DURATION_SECONDS, help="seconds for one recording (default: 20)"
    )
    pace.add_argument("--speed", type=_above_zero, help="its own pace times this, such as 1 or 10")
    pace.add_argument(
        "--rate",
        type=_above_zero,
        help="events per second, evenly, if the product answers fast enough: one request is out at a time",
    )
    options.add_argument(
        "--deadline",
        type=_above_zero,
        default=DEADLINE_SECONDS,
        help="seconds to wait for what is missing after the last post (default: 120)",
    )
    options.add_argument("--json", action="store_true", help="print the result as one line of JSON at the end")
    return options


def main(argv: Sequence[str] | None = None) -> int:
    """Play, show the result, and say by the exit status whether all was well: 0 yes, 1 no, 130 interrupted."""
    options = parser().parse_args(argv)
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        plays = plan.plays(options.contract)
        result = Demo(find_product(os.environ), options).run(plays)
    except (DemoError, PlanError) as error:
        print(f"demo: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("demo: interrupted; its endpoint is removed", file=sys.stderr)
        return 130
    report.show(result)
    if options.json:
        print(report.as_json(result), flush=True)
    return 0 if result.is_good else 1


def _count(text: str) -> int:
    if not text.isascii() or not text.isdigit() or int(text) == 0:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number above 0")
    return int(text)


def _above_zero(text: str) -> float:
    number = float(text)
    if not 0 < number < math.inf:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number above 0")
    return number


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())
