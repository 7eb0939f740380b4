"""Who may open a stream, and when an open one is closed because its credential is over."""

from __future__ import annotations

import base64
import hmac
import json
import time
from collections.abc import Callable
from urllib.parse import urlsplit

import pytest

from app.core import sealing, tokens
from app.web.http.cookie import COOKIE
from tests.conftest import SECRET_KEY, StartServer
from tests.database.shifted import shift_for_all
from tests.processes import RunningServer
from tests.web.live.watching import Stage, Watch, open_path

CLOSE_SECONDS = 60.0  # a deadline; what is judged is that no heartbeat comes before


@pytest.fixture
def stage(server: RunningServer) -> Stage:
    """A stream of its own with three events."""
    made = Stage(server)
    made.post_count(3)
    return made


def parts(token: str) -> tuple[dict[str, object], str]:
    """The payload of a token, and its signature."""
    _, payload, signature = token.split(".")
    return json.loads(base64.urlsafe_b64decode(payload + "==")), signature


def forged(payload: dict[str, object], key: bytes, alg: str = "HS256") -> str:
    def b64(data: bytes) -> str:
        return base64.urlsafe_b64encode(data).rstrip(b"=").decode()

    head = f"{b64(json.dumps({'alg': alg}).encode())}.{b64(json.dumps(payload).encode())}"
    return f"{head}.{b64(hmac.new(key, head.encode(), 'sha256').digest()) if key else ''}"


def refused(watch: Watch) -> tuple[int, str]:
    with watch:
        problem = watch.problem()
        assert "trace_id" in problem
        return watch.status, str(problem["code"])


def test_a_key_or_a_token_opens_a_stream_wherever_the_route_lets_it_stand(stage: Stage) -> None:
    token = stage.token()
    with (
        stage.watch("?after_seq=0") as by_bearer,
        stage.watch("?after_seq=0", key=None, X_API_Key=stage.server.workspace_key) as by_header,
        stage.watch("?after_seq=0", key=token) as by_token,
        stage.watch(f"?after_seq=0&token={token}", key=None) as by_query,
        stage.watch("?after_seq=0", key=stage.server.platform_key, X_Workspace="demo") as by_platform,
        stage.watch("?after_seq=0", key=stage.server.platform_key, X_Workspace=stage.server.workspace_id) as by_id,
    ):
        for watch in (by_bearer, by_header, by_token, by_query, by_platform, by_id):
            watch.read_events(3)
            assert watch.seqs == [1, 2, 3]


def test_the_url_of_a_token_opens_its_stream_as_it_is(stage: Stage) -> None:
    made = stage.ask("POST", f"{stage.path}/tokens", status=201).json()
    url = urlsplit(made["url"])
    assert f"{url.scheme}://{url.netloc}" == stage.server.base_url
    with open_path(stage.server, f"{url.path}?token={made['token']}") as watch:
        assert watch.status == 200


def test_without_a_good_credential_there_is_no_stream(stage: Stage) -> None:
    token = stage.token()
    payload, signature = parts(token)
    signing = sealing.derive(SECRET_KEY, "signing stream tokens")
    assert forged(payload, signing).count(".") == 2
    head = token.rpartition(".")[0]
    other = Stage(stage.server)
    other.post_count(1)
    bad = {
        "nothing": None,
        "an unknown key": "pk_" + "x" * 43,
        "not even a key": "x",
        "a long one": "pk_" + "x" * 5000,
        "a token of another stream": other.token(),
        "an expired one": forged(payload | {"exp": int(time.time()) - 1}, signing),
        "one that was never made": forged(payload | {"jti": "tok_01k00000000000000000000000"}, signing),
        "another stream's name": forged(payload | {"sub": other.id}, signing),
        "a session": forged(payload | {"aud": tokens.SESSION}, signing),
        "none": forged(payload, b"", "none"),
        "not signed": f"{head}.",
        "another's signature": f"{head}.{parts(other.token())[1]}",
        "a changed signature": f"{head}.{'A' if signature[0] != 'A' else 'B'}{signature[1:]}",
    }
    for what, credential in bad.items():
        assert refused(stage.watch(key=credential)) == (401, "unauthorized"), what
        if credential is not None:
            assert refused(stage.watch(f"?token={credential}", key=None)) == (401, "unauthorized"), what
    assert refused(stage.watch(f"?token={stage.server.workspace_key}", key=None))[0] == 401  # no keys in URLs
    assert refused(stage.watch(key=None, Authorization="Basic eDp5"))[0] == 401
    assert refused(stage.watch(key=stage.key("publish", "manage", "operate")[1])) == (403, "forbidden")


@pytest.mark.parametrize("hours", [1, -1])
def test_tokens_and_sessions_of_a_machine_with_a_wrong_clock_open_streams(
    start_server: StartServer, new_database: Callable[[], str], hours: int
) -> None:
    url = new_database()
    shift_for_all(url, f"{hours} hours")
    stage = Stage(start_server(DATABASE_URL=url, STREAM_TOKEN_SECONDS="30"), kind="call")
    stage.post_count(1)
    cookie = stage.ask("POST", "/v1/session", status=204).cookies[COOKIE]
    with (
        stage.watch("?after_seq=0", key=stage.token()) as by_token,
        open_path(stage.server, f"/atoms/v1/events?callId={stage.id}", Cookie=f"{COOKIE}={cookie}") as by_session,
    ):
        assert (by_token.status, by_session.status) == (200, 200)
        by_token.read_events(1)
        stage.post_count(1)
        by_token.read_events(2)


def test_another_workspaces_stream_is_not_there(stage: Stage) -> None:
    platform = Stage(stage.server, key=stage.server.platform_key)
    name = f"w{time.monotonic_ns()}"
    platform.ask("POST", "/v1/workspaces", status=201, json={"name": name, "uid": name})
    wanted = {"name": "all", "scopes": ["subscribe", "publish"]}
    headers = {"X-Workspace": name}
    key = platform.ask("POST", "/v1/keys", status=201, json=wanted, headers=headers).json()["key"]
    answers = []
    for path in (stage.live, Stage(stage.server).live):
        with open_path(stage.server, path, Authorization=f"Bearer {key}", X_Request_Id="same") as watch:
            assert watch.status == 404
            answers.append(watch.problem())
    assert answers[0] == answers[1]
    platform_key = stage.server.platform_key
    assert refused(stage.watch(key=platform_key)) == (400, "bad_request")
    assert refused(stage.watch(key=platform_key, X_Workspace="no-such-one")) == (404, "not_found")
    assert refused(stage.watch(key=platform_key, X_Workspace=name)) == (404, "not_found")
    assert refused(stage.watch(X_Workspace=name)) == (404, "not_found")


def test_a_credential_that_is_over_closes_its_streams_and_no_others(start_server: StartServer) -> None:
    stage = Stage(start_server(STREAM_TOKEN_SECONDS="5"))
    stage.post_count(1)
    key_id, key = stage.key("subscribe")
    minting_id, minting_key = stage.key("subscribe", "publish")
    minted = Stage(stage.server, key=minting_key)
    minted.id, minted.path = stage.id, stage.path
    revoked = stage.token()
    token_id = str(parts(revoked)[0]["jti"])
    with (
        stage.watch(key=key) as by_key,
        stage.watch(key=revoked) as by_token,
        stage.watch(key=minted.token()) as by_token_of_key,
        stage.watch(key=stage.token()) as by_short_token,
        stage.watch() as by_other,
    ):
        watches = [by_key, by_token, by_token_of_key, by_short_token, by_other]
        assert [watch.status for watch in watches] == [200] * 5
        stage.ask("DELETE", f"/v1/keys/{key_id}", status=204)
        stage.ask("DELETE", f"/v1/keys/{minting_id}", status=204)
        stage.ask("DELETE", f"{stage.path}/tokens/{token_id}", status=204)
        assert [refused(stage.watch(key=dead))[0] for dead in (key, revoked)] == [401, 401]  # at once for who comes now
        for watch in watches[:4]:
            watch.read_to_end(CLOSE_SECONDS)
            assert b"keepalive" not in watch.body  # closed within the first heartbeat
        stage.post_count(1)
        by_other.read_events(1)
        for watch in watches[:4]:
            assert watch.seqs == []
            watch.read_for(0.01)
            assert watch.whole  # ended as HTTP says, not torn


def test_no_credential_reaches_the_log(stage: Stage) -> None:
    token = stage.token()
    with stage.watch(f"?token={token}", key=None) as watch:
        assert watch.status == 200
    with stage.watch(f"?token={token}x", key=None) as watch:
        assert watch.status == 401
    log = stage.server.web.log_text()
    assert stage.id in log
    assert token not in log
    assert token.rpartition(".")[2] not in log
    assert stage.server.workspace_key not in log
