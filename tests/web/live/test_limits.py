"""How many live connections there may be, also when they all come at once."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from app.local.embedded import EmbeddedRedis
from tests.conftest import _servers
from tests.processes import RunningServer, eventually
from tests.web.live.watching import Stage, Watch, subscribers

FEW = {"MAX_SUBSCRIBERS_PER_KEY": "2", "MAX_SUBSCRIBERS_PER_WORKSPACE": "3", "MAX_SUBSCRIBERS": "4"}


def refusal(watch: Watch) -> str:
    with watch:
        assert watch.status == 429
        problem = watch.problem()
        assert problem["code"] == "too_many"
        return str(problem["detail"])


@pytest.fixture(scope="module")
def narrow(
    new_database: Callable[[], str], redis_server: EmbeddedRedis, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RunningServer]:
    """A server with these limits; whoever uses it leaves it without connections."""
    servers = _servers(new_database, redis_server, tmp_path_factory)
    yield next(servers)(**FEW)
    next(servers, None)


def test_keys_workspaces_and_the_process_have_their_limits(narrow: RunningServer) -> None:
    stage = Stage(narrow)
    stage.post_count(1)
    platform = Stage(stage.server, key=stage.server.platform_key)
    platform.ask("POST", "/v1/workspaces", status=201, json={"name": "Other", "uid": "other"})
    wanted = {"name": "all", "scopes": ["publish", "subscribe"]}
    made = platform.ask("POST", "/v1/keys", status=201, json=wanted, headers={"X-Workspace": "other"})
    other = Stage(stage.server, key=made.json()["key"])
    other.post_count(1)
    other_key = made.json()["key"]
    (_, second), (_, third) = stage.key("subscribe"), stage.key("subscribe")

    one, two = stage.watch(), stage.watch(f"?token={stage.token()}", key=None)  # a token counts for the key behind it
    assert (one.status, two.status) == (200, 200)
    assert refusal(stage.watch()).startswith("The key has 2 live connections")
    assert refusal(stage.watch(key=stage.token())).startswith("The key has 2 ")
    three = stage.watch(key=second)
    assert three.status == 200
    assert refusal(stage.watch(key=third)).startswith("The workspace has 3 ")
    four = other.watch(key=other_key)
    assert four.status == 200
    assert refusal(other.watch(key=other_key)).startswith("This server has 4 ")

    one.socket.close()
    again = eventually(lambda: admitted(stage))  # a place that is left is free again
    for watch in (two, three, four, again):
        watch.socket.close()


def admitted(stage: Stage) -> Watch | None:
    watch = stage.watch()
    if watch.status == 200:
        return watch
    watch.socket.close()
    return None


def test_a_limit_holds_for_many_that_come_at_once(narrow: RunningServer) -> None:
    eventually(lambda: subscribers(narrow) == 0)  # those of another test have gone
    stages = [Stage(narrow) for _ in range(20)]  # streams that nobody watches yet, so that each has to be looked up
    for stage in stages:
        stage.post_count(1)
    with ThreadPoolExecutor(20) as pool:
        watches = list(pool.map(lambda stage: stage.watch(), stages))
        statuses = list(pool.map(lambda watch: watch.status, watches))
    assert sorted(statuses) == [200] * 2 + [429] * 18
    for watch in watches:
        watch.socket.close()
