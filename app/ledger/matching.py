"""What the endpoints of workspaces want, as far as this process remembers it, with the version that it remembers."""

from __future__ import annotations

import json
from collections import OrderedDict
from dataclasses import dataclass

from app.core.event.acceptance import EndpointFilter, Matcher

MOST_WORKSPACES = 1000  # remembered at once, those that accepted last
UNKNOWN_VERSION = -1  # no workspace has it: the database then answers with the endpoints


@dataclass(frozen=True, slots=True)
class Wants:
    """What the endpoints of a workspace want, as of a version (workspaces.endpoints_version)."""

    version: int
    matcher: Matcher


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
        kinds], …] or null] for each workspace whose version was another. The ids of those workspaces."""
        learned = json.loads(stale)
        for workspace_id, version, endpoints in learned:
            filters = [EndpointFilter(id, workspace_id, types, kinds) for id, types, kinds in endpoints or ()]
            self._wants[workspace_id] = Wants(version, Matcher(filters))
            self._wants.move_to_end(workspace_id)
        while len(self._wants) > MOST_WORKSPACES:
            self._wants.popitem(last=False)
        return frozenset(workspace_id for workspace_id, _, _ in learned)
