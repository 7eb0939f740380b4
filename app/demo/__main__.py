"""`make demo`: a recording goes through the running product, live and by webhook, and everything is checked.

A producer posts the events of a recording, a viewer follows the stream, a receiver takes the webhooks and verifies
each with the independent `standardwebhooks` package. Exit status 0: nothing missing, nothing wrong.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import signal
import sys
from collections.abc import Mapping, Sequence
from types import FrameType

import httpx

from app.demo import plan, report
from app.demo.plan import PlanError
from app.demo.run import Demo, DemoError, Product
from app.project import var_directory

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
    options.add_argument("--json", action="store_true", help="print the outcome as one line of JSON at the end")
    return options


def find_product(environ: Mapping[str, str]) -> Product:
    """The product that `make run` started. Raises DemoError when none is running."""
    path = var_directory(environ) / "dev.json"
    try:
        run = json.loads(path.read_text())
        product = Product(run["base_url"], run["workspace_key"])
        response = httpx.get(f"{product.base_url}/readyz", timeout=5, trust_env=False)
    except (OSError, ValueError, KeyError, httpx.TransportError):
        raise DemoError("Twofold is not running here. In another terminal, start it with: make run") from None
    if response.status_code != 200:
        raise DemoError(f"Twofold is not ready: {product.base_url}/readyz answers {response.status_code}.")
    return product


def main(argv: Sequence[str] | None = None) -> int:
    """Play, show the outcome, and say by the exit status whether all was well: 0 yes, 1 no, 130 interrupted."""
    options = parser().parse_args(argv)
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        plays = plan.plays(options.contract)
        outcome = Demo(find_product(os.environ), options).run(plays)
    except (DemoError, PlanError) as error:
        print(f"demo: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("demo: interrupted; its endpoint is removed", file=sys.stderr)
        return 130
    report.show(outcome)
    if options.json:
        print(report.as_json(outcome), flush=True)
    return 0 if outcome.is_good else 1


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
