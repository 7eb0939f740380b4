"""Order over the API: the fields, what waits for what, and going on without what stands in the way."""

from __future__ import annotations

from tests.conftest import RunningServer
from tests.processes import eventually
from tests.web.things import Things
