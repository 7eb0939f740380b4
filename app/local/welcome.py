"""What a local run prints when it is ready."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from app.local.keys import LocalKeys
from app.local.operator import LocalOperator


def welcome(base_url: str, keys: LocalKeys, operator: LocalOperator, directory: Path) -> str:
    """The address, the console, the keys' place and lines to try, to be pasted as they are. directory: of the run."""
    password = f"password {operator.password}" if operator.password else "your own password"
    auth = f"-H 'Authorization: Bearer {keys.workspace_key}'"
    json_type = "-H 'Content-Type: application/json'"
    event = '{"stream":{"kind":"call","id":"call_1"},"type":"call.barge_in","data":{"at_ms":1200}}'
    return f"""
Twofold is ready at {base_url}
Console: {base_url}/console, name {operator.name}, {password}
Keys and addresses: {_shown(directory)}/dev.json. Ctrl-C stops everything.

Watch webhooks arrive, in another terminal:
  {_shown(Path(sys.executable).with_name("twofold"))} listen --port 9000

Then try, one after the other (the last one stays open and shows events as they come):
  curl -sS -w '\\n' {base_url}/v1/endpoints {auth} {json_type} -d '{{"url":"http://127.0.0.1:9000/"}}'
  curl -sS -w '\\n' {base_url}/v1/events {auth} {json_type} -d '{event}'
  curl -sS -w '\\n' '{base_url}/v1/deliveries?limit=5' {auth}
  curl -sS -w '\\n' {base_url}/readyz {base_url}/metrics
  curl -sSN '{base_url}/v1/streams/call/call_1/live?after_seq=0' {auth}
"""


def _shown(path: Path) -> str:
    """A path as one would type it here: relative where it is below the working directory."""
    return os.path.relpath(path) if path.is_relative_to(Path.cwd()) else str(path)
