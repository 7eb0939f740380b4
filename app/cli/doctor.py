"""`twofold doctor`: says what is wrong with an installation, and how to mend it."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping

import click

from app.cli import profiles
from app.cli.api import Api, server
from app.cli.checkup import Finding, check_postgres, check_redis, check_settings
from app.cli.command import CommandError, Status
from app.cli.shown import cell, json_line, json_option, styled

WIDTH = 18  # of the longest check's name, and of a state before it


@click.command()
@click.option("--profile", metavar="NAME", help="The server to ask (see twofold profile).")
@click.option("--workspace", metavar="ID", help="Id or uid of the workspace for the test delivery.")
@click.option("--endpoint", metavar="ID", help="Send the test to this endpoint, rather than to this machine.")
@click.option("--no-delivery", is_flag=True, help="Make no test delivery.")
@json_option
def doctor(profile: str | None, workspace: str | None, endpoint: str | None, no_delivery: bool, as_json: bool) -> int:
    """Check settings, PostgreSQL, migrations, Redis, clocks and workers, then the server and a test delivery to it.

    DATABASE_URL, REDIS_URL and the other settings are read from the environment, or are those of the local run. What
    they do not name is skipped. Status 1: something is wrong.
    """
    states: list[str] = []
    for finding in _findings(profile, workspace, endpoint, no_delivery):
        states.append(finding.state)
        _print(finding, as_json=as_json)
    return Status.FAILED if "fail" in states else Status.OK


def _findings(profile: str | None, workspace: str | None, endpoint: str | None, no_delivery: bool) -> Iterator[Finding]:
    yield from _engines(os.environ, asked_elsewhere=profile is not None)
    try:
        asked = server(profile, workspace)
    except CommandError as error:
        yield Finding("server", "skip", str(error))
        return
    from app.cli.trial import check_server, try_delivery

    with Api(asked) as api:
        answered = check_server(api)
        yield from answered
        if not no_delivery and all(finding.state != "fail" for finding in answered):
            yield try_delivery(api, endpoint)


def _engines(environ: Mapping[str, str], *, asked_elsewhere: bool) -> Iterator[Finding]:
    """PostgreSQL and Redis, of the environment or of the local run."""
    run = None if asked_elsewhere else profiles.described_run(environ)
    if environ.get("DATABASE_URL") or environ.get("REDIS_URL") or environ.get("SECRET_KEY"):
        yield check_settings(environ)
        run = None
    for name, check in (("DATABASE_URL", check_postgres), ("REDIS_URL", check_redis)):
        url = environ.get(name) or (run or {}).get(name.lower())
        if url:
            yield from check(url)
        else:
            yield Finding(name, "skip", "not set here, so what it names was not looked at")


def _print(finding: Finding, *, as_json: bool) -> None:
    if as_json:
        told = {"check": finding.name, "state": finding.state, "detail": finding.detail, "mend": finding.mend or None}
        click.echo(json_line(told))
        return
    click.echo(f"{styled(f'{finding.state:<4}', finding.state)}  {finding.name:<{WIDTH}}  {cell(finding.detail)}")
    if finding.mend:
        click.echo(f"      {'':<{WIDTH}}  → {finding.mend}")


commands = (doctor,)
