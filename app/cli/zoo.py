"""`twofold zoo`: hostile receivers for whoever tests a sender of webhooks."""

from __future__ import annotations

import json
from itertools import count

import click

# Below what systems give to outgoing connections, and apart from the ports of well-known services.
GUIDE_PORT = 21000


@click.command()
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    default=GUIDE_PORT,
    show_default=True,
    help="Of the guide; the receivers take those after it. 0: any that are free.",
)
@click.option("--list", "only_list", is_flag=True, help="Print the receivers and serve none.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON, on one line.")
def zoo(port: int, only_list: bool, as_json: bool) -> None:
    """Serve hostile webhook receivers on 127.0.0.1 until Ctrl-C, to test a sender with."""
    from app.zoo.guide import Guide, described, lines
    from app.zoo.serve import Zoo

    if only_list:
        _print_list(port, as_json=as_json)
        return
    with Zoo(port) as animals, Guide(port, animals) as guide:
        if as_json:
            click.echo(json.dumps(described(animals, guide.url)))
        else:
            click.echo("\n".join(lines((one.receiver, one.number) for one in animals.ports)))
            click.echo(f"\n{len(animals.ports)} receivers. What each has seen: {guide.url} (Ctrl-C ends it)")
        try:
            guide.serve_forever()
        except KeyboardInterrupt:
            return


def _print_list(port: int, *, as_json: bool) -> None:
    from app.zoo.guide import lines, row
    from app.zoo.receivers import RECEIVERS

    numbered = list(zip(RECEIVERS, count((port or GUIDE_PORT) + 1), strict=False))
    if as_json:
        click.echo(json.dumps({"receivers": [row(*one) for one in numbered]}))
    else:
        click.echo("\n".join(lines(numbered)))


commands = (zoo,)
