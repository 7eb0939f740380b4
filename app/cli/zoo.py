"""`twofold zoo`: hostile receivers for whoever tests a sender of webhooks."""

from __future__ import annotations

import argparse
import json
from itertools import count

from app.cli.command import Commands
from app.zoo.guide import Guide, described, lines, row
from app.zoo.receivers import RECEIVERS
from app.zoo.serve import Zoo

# Below what systems give to outgoing connections, and apart from the ports of well-known services.
GUIDE_PORT = 21000


def add(commands: Commands) -> None:
    """Add this command."""
    command = commands.add_parser("zoo", help="hostile webhook receivers on 127.0.0.1, to test a sender with")
    command.add_argument(
        "--port",
        type=int,
        default=GUIDE_PORT,
        help=f"of the guide (default: {GUIDE_PORT}); the receivers take those after it; 0: any that are free",
    )
    command.add_argument("--list", action="store_true", help="print the receivers and serve none")
    command.add_argument("--json", action="store_true", help="print JSON, on one line")
    command.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Print the table and serve until Ctrl-C; returns the exit status. Raises OSError when a port is taken."""
    if arguments.list:
        numbered = list(zip(RECEIVERS, count((arguments.port or GUIDE_PORT) + 1), strict=False))
        if arguments.json:
            print(json.dumps({"receivers": [row(*one) for one in numbered]}))
        else:
            print("\n".join(lines(numbered)))
        return 0
    with Zoo(arguments.port) as zoo, Guide(arguments.port, zoo) as guide:
        if arguments.json:
            print(json.dumps(described(zoo, guide.url)), flush=True)
        else:
            print("\n".join(lines((port.receiver, port.number) for port in zoo.ports)))
            print(f"\n{len(zoo.ports)} receivers. What each has seen: {guide.url} (Ctrl-C ends it)", flush=True)
        try:
            guide.serve_forever()
        except KeyboardInterrupt:
            return 0
    return 0
