"""What the endpoints of workspaces want, as far as this process remembers it, with the version that it remembers."""

from __future__ import annotations

import json
from collections import OrderedDict
from dataclasses import dataclass
from typing import Any

from app.core.event.acceptance import EndpointFilter, Matcher
from app.core.event.filters.reading import stored_filter

MOST_WORKSPACES = 1000  # remembered at once, those that accepted last
UNKNOWN_VERSION = -1  # no workspace has it: the database then answers with the endpoints


@dataclass(frozen=True, slots=True)
class Wants:
    """What the endpoints of a workspace want, as of a version (workspaces.endpoints_version)."""

    version: int
    matcher: Matcher

    def as_of(self, version: int | None) -> Wants:
        """These, if they are as of this version; else nothing is known, and the database tells everything."""
        return self if version == self.version else _NOTHING_KNOWN


_NOTHING_KNOWN = Wants(UNKNOWN_VERSION, Matcher(()))


class RememberedEndpoints:
    """The wants of workspaces. The database compares the version with each use, so nothing here can be too old."""

    def __init__(self) -> None:
        self._wants: OrderedDict[str, Wants] = OrderedDict()

    def of(self, workspace_id: str) -> Wants:
        """What is remembered of a workspace; UNKNOWN_VERSION and no endpoints for another."""
        known = self._wants.get(workspace_id)
        if known is None:
            return _NOTHING_KNOWN
        self._wants.move_to_end(workspace_id)
        return known

    def learn(self, stale: str) -> frozenset[str]:
        """Remember what the database has answered, as JSON: [workspace id, version, [[endpoint id, event types, stream
        kinds, and of those that look closer channels, content filter], …] or null] for each workspace whose version was
        another. The ids of those workspaces."""
        learned = json.loads(stale)
        for workspace_id, version, endpoints in learned:
            self._wants[workspace_id] = Wants(
                version, Matcher([_filter(workspace_id, *one) for one in endpoints or ()])
            )
            self._wants.move_to_end(workspace_id)
        while len(self._wants) > MOST_WORKSPACES:
            self._wants.popitem(last=False)
        return frozenset(workspace_id for workspace_id, _, _ in learned)


def _filter(
    workspace_id: str, id: str, types: Any, kinds: Any, channels: Any = None, content: str | None = None
) -> EndpointFilter:
    return EndpointFilter(id, workspace_id, types, kinds, channels, None if content is None else stored_filter(content))
