"""How many live connections the process, a workspace and a key may have."""

from __future__ import annotations

from app.core.problem import Problem
from app.live.connections import ConnectionLimits, Full
from app.settings import Settings
from app.web.engine import Engine
from app.web.live.credentials import Opener

_OWNERS = {"process": "This server", "workspace": "The workspace", "key": "The key"}


def limits(settings: Settings) -> ConnectionLimits:
    """The limits that are set."""
    return ConnectionLimits(
        process=settings.max_subscribers,
        workspace=settings.max_subscribers_per_workspace,
        key=settings.max_subscribers_per_key,
    )


def check_limits(engine: Engine, opener: Opener) -> None:
    """Raise Problem too_many when process, workspace or key is at its connection limit."""
    try:
        engine.hub.connections.check(opener.workspace_id, opener.key_id, limits(engine.settings))
    except Full as full:
        raise too_many(full) from None


def too_many(full: Full) -> Problem:
    """The refusal that names the limit."""
    owner = _OWNERS[full.whose]
    return Problem("too_many", f"{owner} has {full.most} live connections, the most there may be; close some first.")
